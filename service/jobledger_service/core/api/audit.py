"""The audit log: a line for each change of what has no history of its own, as keys, limits and webhooks."""

from typing import Any

import structlog

from jobledger_service.transport.identity import Caller

log = structlog.get_logger("jobledger_service.audit")


def record(event: str, request: Any, caller: Caller, owner: str, **what: object) -> None:  # noqa: ANN401  with a reason
    """Log what a request changed, whose it is, who changed it, and why."""
    log.info(event, **what, owner=owner, by=caller.name, reason=request.reason or None)
