"""Requests about concurrency limits as commands."""

from jobledger.v1 import limit_scope_pb2
from jobledger.v1 import limit_service_pb2 as api

from jobledger_service.core.api.checks import LABEL, LABEL_FORM, Checks
from jobledger_service.core.api.owners import owner_of
from jobledger_service.core.model.slots import MAX_RUNNING, LimitScope
from jobledger_service.transport.identity import Caller

from .commands import PauseKind, ResumeKind, SetLimit


def set_limit(request: api.SetLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of SetLimit."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        scope = _scope(checks, request.scope)
        checks.reason(request.reason)
        if request.HasField("max_running"):
            checks.within("max_running", request.max_running, 0, MAX_RUNNING)
        else:
            checks.fault("max_running", "is required; 0 pauses the scope")
    return SetLimit(owner, scope, request.max_running)


def delete_limit(request: api.DeleteLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of DeleteLimit: any number of jobs may run."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        scope = _scope(checks, request.scope)
        checks.reason(request.reason)
    return SetLimit(owner, scope, None)


def pause_kind(request: api.PauseKindRequest, caller: Caller) -> PauseKind:
    """Return the command of PauseKind."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        _kind(checks, "kind", request.kind)
        checks.reason(request.reason)
    return PauseKind(owner, request.kind, request.reason, caller.name)


def resume_kind(request: api.ResumeKindRequest, caller: Caller) -> ResumeKind:
    """Return the command of ResumeKind."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        _kind(checks, "kind", request.kind)
        checks.reason(request.reason)
    return ResumeKind(owner, request.kind)


def _kind(checks: Checks, field: str, value: str) -> None:
    checks.kind(field, value)
    checks.not_reserved(field, value)


def _scope(checks: Checks, given: limit_scope_pb2.LimitScope) -> LimitScope:
    match given.WhichOneof("scope"):
        case "kind":
            _kind(checks, "scope.kind", given.kind)
            return LimitScope(kind=given.kind)
        case "label":
            checks.form("scope.label.name", given.label.name, LABEL, LABEL_FORM)
            checks.at_most("scope.label.value", given.label.value, 255)
            return LimitScope(label=given.label.name, value=given.label.value)
        case "each_value_of_label":
            checks.form("scope.each_value_of_label", given.each_value_of_label, LABEL, LABEL_FORM)
            return LimitScope(label=given.each_value_of_label)
    checks.fault("scope", "is required: set kind, label or each_value_of_label")
    return LimitScope()
