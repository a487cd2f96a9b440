"""Requests about concurrency limits as commands."""

from typing import Final

from jobledger.v1 import limit_service_pb2 as api

from jobledger_service.core.api.checks import LABEL, Checks
from jobledger_service.core.model.slots import MAX_RUNNING
from jobledger_service.transport.checks import shown
from jobledger_service.transport.identity import Caller

from .commands import SetLimit

_FORM: Final = 'must be "kind:KIND" or "label:NAME=VALUE"'


def set_limit(request: api.SetLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of SetLimit."""
    with Checks() as checks:
        _check_scope(checks, request.scope)
        checks.within("max_running", request.max_running, 1, MAX_RUNNING)
    return SetLimit(caller.owner, request.scope, request.max_running)


def delete_limit(request: api.DeleteLimitRequest, caller: Caller) -> SetLimit:
    """Return the command of DeleteLimit: any number of jobs may run."""
    with Checks() as checks:
        _check_scope(checks, request.scope)
    return SetLimit(caller.owner, request.scope, None)


def _check_scope(checks: Checks, scope: str) -> None:
    what, _, rest = scope.partition(":")
    name, given, value = rest.partition("=")
    if what == "kind":
        checks.kind("scope", rest)
        checks.not_reserved("scope", rest)
    elif what == "label" and given:
        checks.form("scope", name, LABEL, "a label: 1 to 63 characters of A-Z a-z 0-9 . _ / -")
        checks.at_most("scope", value, 255)
    else:
        checks.fault("scope", f"value {shown(scope)} {_FORM}")
