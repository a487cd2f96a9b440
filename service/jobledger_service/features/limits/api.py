"""LimitService: read the request, submit or query, map, return."""

from typing import Any, Final

from jobledger.v1 import limit_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import audit
from jobledger_service.core.api.convert import limit_scope, timestamp
from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.owners import read_owner
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.paging import request_mark
from jobledger_service.core.store.paused_kinds import PausedKind
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .commands import SetLimit
from .rules import Limit
from .store import LimitStore

LIMIT_SERVICE: Final = api.DESCRIPTOR.services_by_name["LimitService"]
METHODS: Final = (
    Method(LIMIT_SERVICE, "SetLimit", Role.ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "ListLimits", Role.CALLER, Kind.READ, ("PAGE_TOKEN_INVALID",)),
    Method(LIMIT_SERVICE, "DeleteLimit", Role.ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "PauseKind", Role.ADMIN, Kind.WRITE, ("TOO_MANY_PAUSED_KINDS",)),
    Method(LIMIT_SERVICE, "ResumeKind", Role.ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "ListPausedKinds", Role.CALLER, Kind.READ, ("PAGE_TOKEN_INVALID",)),
)


class LimitService(MsgStruct, frozen=True):
    """The calls of LimitService."""

    kernel: Kernel
    store: LimitStore

    async def SetLimit(self, request: api.SetLimitRequest, caller: Caller) -> api.SetLimitResponse:
        command = read.set_limit(request, caller)
        limit = await self.kernel.committer.submit(command)
        _record("limit set", request, caller, command, max_running=request.max_running)
        return api.SetLimitResponse(limit=_limit(limit) if limit else None)

    async def ListLimits(self, request: api.ListLimitsRequest, caller: Caller) -> api.ListLimitsResponse:
        owner, limit = read_owner(request, caller), checked_page_size(request.page_size, default=100, max_size=500)
        tokens, mark = self.kernel.tokens, request_mark("limits", owner)
        (after,) = tokens.parse(request.page_token, mark, tuple[str]) or ("",)
        limits, last = await self.kernel.readers.for_owner(owner, self.store.page, owner, after, limit)
        next_page_token = "" if last is None else tokens.encode(mark, last)
        return api.ListLimitsResponse(limits=map(_limit, limits), next_page_token=next_page_token)

    async def DeleteLimit(self, request: api.DeleteLimitRequest, caller: Caller) -> api.DeleteLimitResponse:
        command = read.delete_limit(request, caller)
        await self.kernel.committer.submit(command)
        _record("limit deleted", request, caller, command)
        return api.DeleteLimitResponse()

    async def PauseKind(self, request: api.PauseKindRequest, caller: Caller) -> api.PauseKindResponse:
        command = read.pause_kind(request, caller)
        pause = await self.kernel.committer.submit(command)
        audit.record("kind paused", request, caller, command.owner, kind=command.kind)
        return api.PauseKindResponse(paused_kind=_paused_kind(pause))

    async def ResumeKind(self, request: api.ResumeKindRequest, caller: Caller) -> api.ResumeKindResponse:
        command = read.resume_kind(request, caller)
        resumed = await self.kernel.committer.submit(command)
        audit.record("kind resumed", request, caller, command.owner, kind=command.kind)
        return api.ResumeKindResponse(resumed=resumed)

    async def ListPausedKinds(self, request: api.ListPausedKindsRequest, caller: Caller) -> api.ListPausedKindsResponse:
        owner, limit = read_owner(request, caller), checked_page_size(request.page_size, default=100, max_size=500)
        tokens, mark = self.kernel.tokens, request_mark("paused kinds", owner)
        (after,) = tokens.parse(request.page_token, mark, tuple[str]) or ("",)
        found = await self.kernel.readers.for_owner(owner, self.store.paused, owner, after, limit + 1)
        next_page_token = tokens.encode(mark, found[limit - 1].kind) if len(found) > limit else ""
        paused = map(_paused_kind, found[:limit])
        return api.ListPausedKindsResponse(paused_kinds=paused, next_page_token=next_page_token)


def _record(event: str, request: Any, caller: Caller, command: SetLimit, **what: object) -> None:  # noqa: ANN401  two have a scope
    audit.record(event, request, caller, command.owner, scope=command.scope.text, **what)


def _paused_kind(value: PausedKind) -> api.PausedKind:
    return api.PausedKind(
        kind=value.kind,
        reason=value.reason,
        paused_by=value.paused_by,
        pause_time=timestamp(value.pause_time),
        update_time=timestamp(value.update_time),
    )


def _limit(value: Limit) -> api.Limit:
    return api.Limit(
        scope=limit_scope(value.over),
        max_running=value.max_running or 0,
        running=value.running,
        waiting=value.waiting,
        inherited=not value.is_set,
    )
