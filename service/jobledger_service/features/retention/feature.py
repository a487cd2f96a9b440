"""What is kept only for a time."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.retention import Retention
from jobledger_service.settings import Settings

from .duty import RetentionDuty, RetentionPeriods


def retention(kernel: Kernel) -> Feature:
    """Return what retention adds to a server."""
    settings = kernel.settings
    periods = RetentionPeriods(
        events=round(settings.event_retention * SECOND),
        audit=round(settings.audit_retention * SECOND),
    )
    duty = RetentionDuty(
        kernel.store,
        kernel.upkeep,
        kernel.queries,
        kernel.committer,
        kernel.clock,
        periods,
        kernel.feed.forget,
        kernel.unreadable,
    )
    return Feature(duties=[Duty("retention", duty.once, settings.retention_interval)])


def retention_of(settings: Settings) -> Retention:
    """Return the retention of ended jobs."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))
