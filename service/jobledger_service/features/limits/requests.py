"""Requests about concurrency limits as commands."""

from typing import Final

from jobledger.v1 import job_service_pb2
from jobledger.v1 import limit_service_pb2 as api

from jobledger_service.core.api.checks import LABEL, Checks
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.slots import MOST_RUNNING, Limit, kind_scope, label_scope
from jobledger_service.transport.identity import Caller

from .commands import SetLimit

MOST_LIMITS: Final = 8
_FORM: Final = 'is not a scope: "kind:KIND" or "label:NAME=VALUE"'


def set_limit(request: api.SetLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of SetLimit."""
    checks = Checks()
    _check_scope(checks, request.scope)
    checks.within("max_running", request.max_running, 1, MOST_RUNNING)
    checks.done()
    return SetLimit(caller.owner, request.scope, request.max_running)


def delete_limit(request: api.DeleteLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of DeleteLimit: any number may run."""
    checks = Checks()
    _check_scope(checks, request.scope)
    checks.done()
    return SetLimit(caller.owner, request.scope, None)


def _check_scope(checks: Checks, scope: str) -> None:
    what, _, rest = scope.partition(":")
    name, given, value = rest.partition("=")
    if what == "kind":
        checks.kind("scope", rest)
        if is_reserved(rest):
            checks.fault("scope", f"{scope!r}: the service's own kinds have no limits")
    elif what == "label" and given:
        checks.form("scope", name, LABEL, "a label: 1 to 63 characters of A-Z a-z 0-9 . _ / -")
        checks.at_most("scope", value, 255)
    else:
        checks.fault("scope", f"{scope!r} {_FORM}")


def limits_of_job(checks: Checks, request: job_service_pb2.CreateJobRequest, owner: str) -> list[Limit]:
    """Return the limits that a job brings along."""
    checks.count("limits", len(request.limits), MOST_LIMITS)
    labels = request.labels
    found: dict[str, Limit] = {}
    for index, given in enumerate(request.limits):
        checks.within(f"limits[{index}].max_running", given.max_running, 1, MOST_RUNNING)
        if given.label and given.label not in labels:
            checks.fault(f"limits[{index}].label", f"{given.label!r} is not one of the job's labels")
            continue
        scope = label_scope(given.label, labels[given.label]) if given.label else kind_scope(request.kind)
        if scope in found:
            checks.fault(f"limits[{index}]", f"is the second one over {scope!r}")
        found[scope] = Limit(owner, scope, given.max_running, by_job=True)
    return list(found.values())
