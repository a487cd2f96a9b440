# Generated from _async/_limits.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls of LimitService: how many jobs may run at once, and which kinds are paused."""

from datetime import timedelta
from typing import TYPE_CHECKING

from jobledger.v1 import limit_service_pb2 as rpc
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from jobledger_client import _limits as values
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._pages import Pages

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class LimitCalls:
    """Concurrency limits, over what `for_kind`, `for_label` and `for_each` return, and paused kinds.

    To set one, or to pause and resume, needs a key with the role OWNER_ADMIN or ADMIN, and another `owner` than the
    key's own needs ADMIN. `reason` is for people: limits and paused kinds show it, with who set them.
    """

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = LimitServiceStub(channel)
        self._caller = caller

    def set_limit(
        self,
        scope: values.ScopeLike,
        max_running: int,
        *,
        reason: str = "",
        owner: str = "",
        timeout: timedelta | None = None,
    ) -> values.Limit:
        """Let at most `max_running` jobs of a scope, 0 to 1,000,000, run at once; 0 pauses it.

        With ADMIN it is the ceiling, too. Raises InvalidFieldError, RoleMissingError and LimitCeilingError.
        """
        request = rpc.SetLimitRequest(
            scope=values.scope_message(scope), max_running=max_running, reason=reason, owner=owner
        )
        response = self._caller.call(self._stub.SetLimit, request, timeout=timeout)
        return values.limit(response.limit)

    def list_limits(self, *, owner: str = "", timeout: timedelta | None = None) -> list[values.Limit]:
        """Return all limits by scope, each with its running and waiting jobs."""
        request = rpc.ListLimitsRequest(page_size=500, owner=owner)
        pages = Pages(self._caller, self._stub.ListLimits, request, lambda page: page.limits, timeout)
        return [values.limit(limit) for limit in pages]

    def delete_limit(
        self, scope: values.ScopeLike, *, reason: str = "", owner: str = "", timeout: timedelta | None = None
    ) -> None:
        """Remove a limit; jobs waiting for it become claimable.

        Raises InvalidFieldError, RoleMissingError and LimitCeilingError.
        """
        request = rpc.DeleteLimitRequest(scope=values.scope_message(scope), reason=reason, owner=owner)
        self._caller.call(self._stub.DeleteLimit, request, timeout=timeout)

    def pause_kind(
        self, kind: str, reason: str = "", *, owner: str = "", timeout: timedelta | None = None
    ) -> values.PausedKind:
        """Keep workers from claiming chunks of a kind until `resume_kind`; chunks in work continue.

        Of a paused kind, this changes the reason. Raises InvalidFieldError, RoleMissingError and
        TooManyPausedKindsError.
        """
        request = rpc.PauseKindRequest(kind=kind, reason=reason, owner=owner)
        response = self._caller.call(self._stub.PauseKind, request, timeout=timeout)
        return values.paused_kind(response.paused_kind)

    def resume_kind(self, kind: str, *, reason: str = "", owner: str = "", timeout: timedelta | None = None) -> bool:
        """End the pause of a kind, and return whether it was paused. Raises InvalidFieldError and RoleMissingError."""
        request = rpc.ResumeKindRequest(kind=kind, reason=reason, owner=owner)
        response = self._caller.call(self._stub.ResumeKind, request, timeout=timeout)
        return response.resumed

    def list_paused_kinds(self, *, owner: str = "", timeout: timedelta | None = None) -> list[values.PausedKind]:
        """Return all paused kinds, by name."""
        request = rpc.ListPausedKindsRequest(page_size=500, owner=owner)
        pages = Pages(self._caller, self._stub.ListPausedKinds, request, lambda page: page.paused_kinds, timeout)
        return [values.paused_kind(paused) for paused in pages]
