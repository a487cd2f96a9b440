"""What is kept only for a time."""

from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.ledger.row_families import OpenFamily, RowFamily
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.limits import SECOND
from jobledger_service.settings import Settings

from .duty import RetentionDuty, expired_jobs
from .rules import Retention
from .store import SqlHistoryStore


def retention(kernel: Kernel) -> Feature:
    """Return what retention adds to a server."""
    codec = ProtoCodec(kernel.unreadable)
    store = SqlHistoryStore(kernel.database, codec.audited, codec.terms)
    duty = RetentionDuty(kernel, store, expired_jobs(kernel))
    return Feature(duties=[Duty("retention", duty.once, kernel.settings.retention_interval)])


class ExpireTimes(RowFamily):
    """The expire times of jobs that end; it has no rows of its own."""

    rank = 0

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    def changed(self, before: Job | None, after: Job) -> Job:
        """Give a job that ends its expire time; take it back when it begins again."""
        return self._retention.applied(before, after)


def expire_times(retention: Retention) -> OpenFamily:
    """Return what gives ended jobs their expire time."""
    one = ExpireTimes(retention)  # it keeps nothing of a batch
    return lambda _transaction, _undo: one


def retention_of(settings: Settings) -> Retention:
    """Return the retention of ended jobs."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))
