"""LimitService: read the request, submit or query, map, return."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from jobledger.v1 import limit_scope_pb2
from jobledger.v1 import limit_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import audit
from jobledger_service.core.api.checks import LABEL, LABEL_FORM, Checks
from jobledger_service.core.api.convert import limit_scope, maker, timestamp
from jobledger_service.core.api.owners import owner_of, read_owner
from jobledger_service.core.database.rows.paused_kinds import PausedKind
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.slots import MAX_RUNNING, LimitScope
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .commands import PauseKind, ResumeKind, SetLimit
from .rules import Limit
from .store import LimitStore

LIMIT_SERVICE: Final = api.DESCRIPTOR.services_by_name["LimitService"]
METHODS: Final = (
    Method(LIMIT_SERVICE, "SetLimit", Role.OWNER_ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "ListLimits", Role.CALLER, Kind.READ),
    Method(LIMIT_SERVICE, "DeleteLimit", Role.OWNER_ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "PauseKind", Role.OWNER_ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "ResumeKind", Role.OWNER_ADMIN, Kind.WRITE),
    Method(LIMIT_SERVICE, "ListPausedKinds", Role.CALLER, Kind.READ),
)


def set_limit(request: api.SetLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of SetLimit."""
    with Checks() as checks:
        owner = _owner(checks, request, caller)
        scope = _scope(checks, request.scope)
        if request.HasField("max_running"):
            checks.within("max_running", request.max_running, 0, MAX_RUNNING)
        else:
            checks.fault("max_running", "is required; 0 pauses the scope")
    by_operator = caller.may(Role.ADMIN)
    return SetLimit(owner, scope, request.max_running, request.reason, caller.name, by_operator=by_operator)


def _owner(checks: Checks, request: Any, caller: Caller) -> str:  # noqa: ANN401  any with an owner and a reason
    checks.reason(request.reason)
    return owner_of(checks, request, caller)


def _paused(request: Any, caller: Caller) -> tuple[str, str]:  # noqa: ANN401  two have a kind
    """Return the owner and the kind that a request pauses or resumes."""
    with Checks() as checks:
        owner = _owner(checks, request, caller)
        _kind(checks, "kind", request.kind)
    return owner, str(request.kind)


def _kind(checks: Checks, field: str, value: str) -> None:
    checks.kind(field, value)
    checks.not_reserved(field, value)


def _scope(checks: Checks, scope: limit_scope_pb2.LimitScope) -> LimitScope:
    match scope.WhichOneof("scope"):
        case "kind":
            _kind(checks, "scope.kind", scope.kind)
            return LimitScope(kind=scope.kind)
        case "label":
            checks.form("scope.label.name", scope.label.name, LABEL, LABEL_FORM)
            checks.at_most("scope.label.value", scope.label.value, 255)
            return LimitScope(label=scope.label.name, value=scope.label.value)
        case "each_value_of_label":
            checks.form("scope.each_value_of_label", scope.each_value_of_label, LABEL, LABEL_FORM)
            return LimitScope(label=scope.each_value_of_label)
    checks.fault("scope", "is required: set kind, label or each_value_of_label")
    return LimitScope()


_paused_kind: Final[Callable[[PausedKind], api.PausedKind]] = maker(PausedKind, api.PausedKind)


class LimitService(MsgStruct, frozen=True):
    """The calls of LimitService."""

    kernel: Kernel
    store: LimitStore

    async def SetLimit(self, request: api.SetLimitRequest, caller: Caller) -> api.SetLimitResponse:
        command = set_limit(request, caller)
        limit = await self.kernel.committer.submit(command)
        scope, max_running = command.scope.text, request.max_running
        audit.record("limit set", request, caller, command.owner, scope=scope, max_running=max_running)
        return api.SetLimitResponse(limit=_limit(limit) if limit else None)

    async def ListLimits(self, request: api.ListLimitsRequest, caller: Caller) -> api.ListLimitsResponse:
        owner = read_owner(request, caller)
        page = partial(self.store.page, owner)
        limits, token = await self.kernel.read_page(owner, request, ("limits", owner), tuple[str], page)
        return api.ListLimitsResponse(limits=map(_limit, limits), next_page_token=token)

    async def DeleteLimit(self, request: api.DeleteLimitRequest, caller: Caller) -> api.DeleteLimitResponse:
        with Checks() as checks:
            owner, scope = _owner(checks, request, caller), _scope(checks, request.scope)
        command = SetLimit(owner, scope, None, by_operator=caller.may(Role.ADMIN))
        await self.kernel.committer.submit(command)
        audit.record("limit deleted", request, caller, command.owner, scope=command.scope.text)
        return api.DeleteLimitResponse()

    async def PauseKind(self, request: api.PauseKindRequest, caller: Caller) -> api.PauseKindResponse:
        owner, kind = _paused(request, caller)
        pause = await self.kernel.committer.submit(PauseKind(owner, kind, request.reason, caller.name))
        audit.record("kind paused", request, caller, owner, kind=kind)
        return api.PauseKindResponse(paused_kind=_paused_kind(pause))

    async def ResumeKind(self, request: api.ResumeKindRequest, caller: Caller) -> api.ResumeKindResponse:
        owner, kind = _paused(request, caller)
        resumed = await self.kernel.committer.submit(ResumeKind(owner, kind))
        audit.record("kind resumed", request, caller, owner, kind=kind)
        return api.ResumeKindResponse(resumed=resumed)

    async def ListPausedKinds(self, request: api.ListPausedKindsRequest, caller: Caller) -> api.ListPausedKindsResponse:
        owner = read_owner(request, caller)
        page = partial(self.store.paused, owner)
        paused, token = await self.kernel.read_page(owner, request, ("paused kinds", owner), tuple[str], page)
        return api.ListPausedKindsResponse(paused_kinds=map(_paused_kind, paused), next_page_token=token)


def _limit(value: Limit) -> api.Limit:
    return api.Limit(
        scope=limit_scope(value.over),
        max_running=value.max_running or 0,
        running=value.running,
        waiting=value.waiting,
        inherited=not value.is_set,
        reason=value.reason,
        set_by=value.set_by,
        update_time=None if value.update_time is None else timestamp(value.update_time),
        ceiling=value.ceiling,
    )
