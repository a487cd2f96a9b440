"""The expire times of jobs that end."""

from jobledger_service.core.model.job import Job
from jobledger_service.core.write.row_families import Guard
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction

from .rules import Retention


class ExpireTimes(Guard):
    """Gives jobs their expire times; it has no rows of its own."""

    rank = 0

    def __init__(self, retention: Retention, _transaction: Transaction, _undo: Undo) -> None:
        self._retention = retention

    def changed(self, before: Job | None, after: Job) -> Job:
        """Give a job that ends its expire time; take it back when it begins again."""
        return self._retention.applied(before, after)
