"""The calls of AdminService, for operators."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobledger.v1 import admin_service_pb2 as rpc
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest, SystemHealth

from jobledger_client import _values as values
from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._pages import AsyncPages

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncAdminCalls:
    """What operators ask of the service. Each call needs a key with the role ADMIN."""

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._admin = AdminServiceStub(channel)
        self._caller = caller

    async def create_api_key(
        self,
        name: str,
        roles: Iterable[values.RoleLike],
        *,
        owner: str = "",
        expire_time: values.TimestampLike | None = None,
        timeout: float | None = None,
    ) -> rpc.CreateApiKeyResponse:
        """Make a key; the response has its token, which is not shown again.

        `owner` is that of the calling key when empty. An attempt whose answer was lost is not repeated: it would make
        a second key. Raises InvalidFieldError, AuthDisabledError.
        """
        request = rpc.CreateApiKeyRequest(
            name=name,
            owner=owner,
            roles=[values.role(one) for one in roles],
            expire_time=values.timestamp(expire_time),
        )
        return await self._caller.call(self._admin.CreateApiKey, request, idempotent=False, timeout=timeout)

    def list_api_keys(
        self,
        *,
        owner: str = "",
        show_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[rpc.ListApiKeysResponse, rpc.ApiKey]:
        """List the keys of an owner, or of all, oldest first; those that were revoked or have expired if asked to."""
        request = rpc.ListApiKeysRequest(owner=owner, show_ended=show_ended, page_size=page_size)

        async def fetch(token: str) -> rpc.ListApiKeysResponse:
            page = rpc.ListApiKeysRequest(page_token=token)
            page.MergeFrom(request)
            return await self._caller.call(self._admin.ListApiKeys, page, timeout=timeout)

        return AsyncPages(fetch, lambda page: page.api_keys, page_token)

    async def revoke_api_key(self, key_id: str, *, timeout: float | None = None) -> rpc.ApiKey:
        """End a key for good, within a second on every replica. Raises ApiKeyNotFoundError."""
        request = rpc.RevokeApiKeyRequest(key_id=key_id)
        return (await self._caller.call(self._admin.RevokeApiKey, request, timeout=timeout)).api_key

    async def rotate_api_key(
        self,
        key_id: str,
        *,
        grace_period: values.DurationLike | None = None,
        expire_time: values.TimestampLike | None = None,
        timeout: float | None = None,
    ) -> rpc.RotateApiKeyResponse:
        """Make a key in place of another one, which goes on for `grace_period` (≤ 30 days), 24 h when None.

        The new key lives as long as the old one was to live, when there is no `expire_time`. As create_api_key it is
        not repeated. Raises ApiKeyNotFoundError, ApiKeyEndedError.
        """
        request = rpc.RotateApiKeyRequest(
            key_id=key_id,
            grace_period=values.duration(grace_period),
            expire_time=values.timestamp(expire_time),
        )
        return await self._caller.call(self._admin.RotateApiKey, request, idempotent=False, timeout=timeout)

    def get_usage(
        self,
        *,
        start_day: values.DayLike = "",
        end_day: values.DayLike = "",
        owner: str = "",
        key_id: str = "",
        group_by: Iterable[values.UsageDimensionLike] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[rpc.GetUsageResponse, rpc.Usage]:
        """List what was called, summed by DAY, OWNER, KEY and METHOD, or by those in `group_by`.

        Days are those of UTC, as a date or as 2026-01-31, both included. Raises InvalidFieldError.
        """
        request = rpc.GetUsageRequest(
            start_day=str(start_day),
            end_day=str(end_day),
            owner=owner,
            key_id=key_id,
            group_by=[values.usage_dimension(one) for one in group_by],
            page_size=page_size,
        )

        async def fetch(token: str) -> rpc.GetUsageResponse:
            page = rpc.GetUsageRequest(page_token=token)
            page.MergeFrom(request)
            return await self._caller.call(self._admin.GetUsage, page, timeout=timeout)

        return AsyncPages(fetch, lambda page: page.usage, page_token)

    async def get_system_health(self, *, timeout: float | None = None) -> SystemHealth:
        """Return how the server that answers fares: its database and disk, commits, feed, workers and webhooks.

        `reasons` has a sentence for each threshold that is passed; it is empty when the status is HEALTHY.
        """
        return (await self._caller.call(self._admin.GetSystemHealth, GetSystemHealthRequest(), timeout=timeout)).health
