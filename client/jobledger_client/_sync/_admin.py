# Generated from _async/_admin.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls of AdminService, for operators and the admins of owners."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from jobledger.v1 import admin_service_pb2 as rpc
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest, SystemHealth

from jobledger_client import _values as values
from jobledger_client._generated._enums import Role, UsageDimension
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._pages import Pages

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class AdminCalls:
    """API keys, usage, quotas and health.

    A key with the role ADMIN sees all owners. One with OWNER_ADMIN manages the keys of its owner that give no right
    over another owner, and reads its usage. Any key reads the quota of its owner.
    """

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = AdminServiceStub(channel)
        self._caller = caller

    def create_api_key(
        self,
        name: str,
        roles: Iterable[Role],
        *,
        owner: str = "",
        expire_time: values.TimestampLike | timedelta | None = None,
        request_id: str = "",
        served_owners: Iterable[str] = (),
        all_owners: bool = False,
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.CreateApiKeyResponse:
        """Create a key; the response has its token, which no later response shows.

        An empty `owner` means the calling key's. With a `request_id` a repeated call returns the same key and an
        empty `token`: rotate the key for one. Without it, an attempt whose response was lost is not repeated: it would
        create a second key. The workers of a key with the role WORKER alone may claim the chunks of up to 100
        `served_owners` in place of the owner's, or of `all_owners`. Raises InvalidFieldError, RequestIdReusedError,
        RoleMissingError, TooManyApiKeysError, AuthDisabledError.
        """
        request = rpc.CreateApiKeyRequest(
            name=name,
            owner=owner,
            roles=values.numbers(roles),
            expire_time=values.future_time(expire_time),
            request_id=request_id,
            served_owners=served_owners,
            all_owners=all_owners,
            reason=reason,
        )
        return self._caller.call(self._stub.CreateApiKey, request, idempotent=bool(request_id), timeout=timeout)

    def list_api_keys(
        self,
        *,
        owner: str = "",
        show_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.ListApiKeysResponse, rpc.ApiKey]:
        """List the keys of an owner, or of all that the key sees, oldest first.

        With `show_ended` also revoked and expired ones.
        """
        request = rpc.ListApiKeysRequest(owner=owner, show_ended=show_ended, page_size=page_size, page_token=page_token)
        return Pages(self._caller, self._stub.ListApiKeys, request, lambda page: page.api_keys, timeout)

    def revoke_api_key(self, key_id: str, *, reason: str = "", timeout: timedelta | None = None) -> rpc.ApiKey:
        """Revoke a key; every replica refuses it within a second. Raises ApiKeyNotFoundError, RoleMissingError."""
        request = rpc.RevokeApiKeyRequest(key_id=key_id, reason=reason)
        return (self._caller.call(self._stub.RevokeApiKey, request, timeout=timeout)).api_key

    def rotate_api_key(
        self,
        key_id: str,
        *,
        grace_period: values.DurationLike | None = None,
        expire_time: values.TimestampLike | timedelta | None = None,
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.RotateApiKeyResponse:
        """Replace a key by a new one; the old one works for `grace_period` (at most 30 days, 24 h when None).

        Without an `expire_time` the new key expires when the old one would have. Like create_api_key this is not
        repeated. Raises ApiKeyNotFoundError, ApiKeyEndedError, RoleMissingError, TooManyApiKeysError.
        """
        request = rpc.RotateApiKeyRequest(
            key_id=key_id,
            grace_period=values.duration(grace_period),
            expire_time=values.future_time(expire_time),
            reason=reason,
        )
        return self._caller.call(self._stub.RotateApiKey, request, idempotent=False, timeout=timeout)

    def get_usage(
        self,
        *,
        time_range: values.TimeRangeLike | None = None,
        owner: str = "",
        key_id: str = "",
        group_by: Iterable[UsageDimension] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.GetUsageResponse, rpc.Usage]:
        """List the calls, summed by DAY, OWNER, KEY and METHOD, or by those in `group_by`.

        `time_range` is widened to whole days of UTC; None is any time. Raises InvalidFieldError.
        """
        request = rpc.GetUsageRequest(
            time_range=values.time_range(time_range),
            owner=owner,
            key_id=key_id,
            group_by=values.numbers(group_by),
            page_size=page_size,
            page_token=page_token,
        )
        return Pages(self._caller, self._stub.GetUsage, request, lambda page: page.usage, timeout)

    def set_quota(
        self,
        owner: str = "",
        *,
        max_unfinished_jobs: int | None = None,
        max_stored_jobs: int | None = None,
        max_watches: int | None = None,
        max_artifact_bytes: int | None = None,
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.Quota:
        """Set how much an owner may have at once, in place of its old quota; None leaves a bound to the server.

        An empty `owner` means the calling key's. The quota that is returned has the bounds in force and their use.
        Raises InvalidFieldError.
        """
        request = rpc.SetQuotaRequest(
            owner=owner,
            max_unfinished_jobs=max_unfinished_jobs,
            max_stored_jobs=max_stored_jobs,
            max_watches=max_watches,
            max_artifact_bytes=max_artifact_bytes,
            reason=reason,
        )
        return (self._caller.call(self._stub.SetQuota, request, timeout=timeout)).quota

    def get_quota(self, owner: str = "", *, timeout: timedelta | None = None) -> rpc.Quota:
        """Return the bounds in force of an owner, the key's own when empty, and how much of each it uses.

        Raises InvalidFieldError, RoleMissingError.
        """
        request = rpc.GetQuotaRequest(owner=owner)
        return (self._caller.call(self._stub.GetQuota, request, timeout=timeout)).quota

    def list_quotas(
        self, *, page_size: int = 0, page_token: str = "", timeout: timedelta | None = None
    ) -> Pages[rpc.ListQuotasResponse, rpc.Quota]:
        """List the quotas that were set and that the key may read, by owner, with their use."""
        request = rpc.ListQuotasRequest(page_size=page_size, page_token=page_token)
        return Pages(self._caller, self._stub.ListQuotas, request, lambda page: page.quotas, timeout)

    def delete_quota(self, owner: str = "", *, reason: str = "", timeout: timedelta | None = None) -> bool:
        """Remove the quota of an owner, who then has the server's defaults; return whether there was one."""
        request = rpc.DeleteQuotaRequest(owner=owner, reason=reason)
        return (self._caller.call(self._stub.DeleteQuota, request, timeout=timeout)).deleted

    def get_system_health(self, *, timeout: timedelta | None = None) -> SystemHealth:
        """Return the health of the server that answers: database, disk, commits, feed, workers and webhooks.

        `reasons` has a sentence for each threshold that is exceeded; it is empty when the status is HEALTHY.
        """
        return (self._caller.call(self._stub.GetSystemHealth, GetSystemHealthRequest(), timeout=timeout)).health
