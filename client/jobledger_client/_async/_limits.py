"""The calls of LimitService: how many jobs may run at once."""

from datetime import timedelta
from typing import TYPE_CHECKING

from jobledger.v1 import limit_service_pb2 as rpc
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from jobledger_client._async._caller import AsyncCaller
from jobledger_client._async._pages import AsyncPages

if TYPE_CHECKING:
    from jobledger_client._async._backend import Channel


class AsyncLimitCalls:
    """Concurrency limits. A scope is "kind:KIND" or "label:NAME=VALUE"."""

    def __init__(self, channel: "Channel", caller: AsyncCaller) -> None:
        self._stub = LimitServiceStub(channel)
        self._caller = caller

    async def set_limit(self, scope: str, max_running: int, *, timeout: timedelta | None = None) -> rpc.Limit:
        """Let at most `max_running` jobs of a scope, 1 to 1,000,000, run at once. Raises InvalidFieldError."""
        request = rpc.SetLimitRequest(scope=scope, max_running=max_running)
        return (await self._caller.call(self._stub.SetLimit, request, timeout=timeout)).limit

    async def list_limits(self, *, timeout: timedelta | None = None) -> list[rpc.Limit]:
        """Return all limits by scope, each with its running and waiting jobs."""
        pages = AsyncPages(
            self._caller, self._stub.ListLimits, rpc.ListLimitsRequest(page_size=500), lambda page: page.limits, timeout
        )
        return [limit async for limit in pages]

    async def delete_limit(self, scope: str, *, timeout: timedelta | None = None) -> None:
        """Remove a limit; jobs waiting for it become claimable. Raises InvalidFieldError."""
        request = rpc.DeleteLimitRequest(scope=scope)
        await self._caller.call(self._stub.DeleteLimit, request, timeout=timeout)
