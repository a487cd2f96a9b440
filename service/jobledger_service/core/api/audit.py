"""The audit log: a line for each change of keys, limits, webhooks and whatever else has no history."""

from typing import Any

import structlog

from jobledger_service.transport.identity import Caller

log = structlog.get_logger("jobledger_service.audit")


def record(event: str, request: Any, caller: Caller, owner: str, **what: object) -> None:  # noqa: ANN401  with a reason
    """Log the change of a request: what it changed, of which owner, by whom, and why."""
    log.info(event, **what, owner=owner, by=caller.name, reason=request.reason or None)
