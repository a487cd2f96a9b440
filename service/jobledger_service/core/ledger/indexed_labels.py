"""The rows of indexed labels, as part of each batch."""

from collections.abc import Sequence

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.store.job_labels import JobLabels
from jobledger_service.core.store.writing import Transaction

from .row_families import RowFamily


class IndexedLabels(RowFamily):
    """The rows by which lists walk the jobs with one value of a label. They belong to jobs, which are locked."""

    rank = 9

    def __init__(self, rows: JobLabels, transaction: Transaction) -> None:
        self._rows = rows
        self._connection = transaction.connection

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it has nothing to do later
        """Write those of all changed jobs."""
        self._rows.save(self._connection, deltas)
        return False
