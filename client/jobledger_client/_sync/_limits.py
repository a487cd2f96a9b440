# Generated from _async/_limits.py by client/generate_sync.py: edit that one, then run `make gen`.
"""The calls of LimitService, for those who say how many jobs may be in work at once."""

from typing import TYPE_CHECKING

from jobledger.v1 import limit_service_pb2 as rpc
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class LimitCalls:
    """What operators ask of the service. A scope is "kind:KIND" or "label:NAME=VALUE"."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._limits = LimitServiceStub(channel)
        self._caller = caller

    def set_limit(self, scope: str, max_running: int, *, timeout: float | None = None) -> rpc.Limit:
        """Let at most so many jobs of a scope, 1 to 1,000,000, be in work at once. Raises InvalidFieldError."""
        request = rpc.SetLimitRequest(scope=scope, max_running=max_running)
        return (self._caller.call(self._limits.SetLimit, request, timeout=timeout)).limit

    def list_limits(self, *, timeout: float | None = None) -> list[rpc.Limit]:
        """Return all limits, by scope, with what they hold and what waits."""
        request, found = rpc.ListLimitsRequest(page_size=500), list[rpc.Limit]()
        while True:
            answer = self._caller.call(self._limits.ListLimits, request, timeout=timeout)
            found.extend(answer.limits)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def delete_limit(self, scope: str, *, timeout: float | None = None) -> None:
        """Take a limit away: what waits for it goes. Raises InvalidFieldError."""
        request = rpc.DeleteLimitRequest(scope=scope)
        self._caller.call(self._limits.DeleteLimit, request, timeout=timeout)
