"""What a batch adds to counts and rollups: a few rows that all replicas write to, the last before the counter row."""

from collections.abc import Iterable

from sqlalchemy import Connection

from jobledger_service.core.ledger.row_families import OpenFamily, RowFamily
from jobledger_service.core.model.rollup import JobDelta, StatisticsDelta
from jobledger_service.core.store.dialects import Dialect

from .rows import add_statistics


def statistics_family(dialect: Dialect) -> OpenFamily:
    """Return the family of counts and rollups."""
    return lambda transaction, _undo: Statistics(transaction.connection, dialect)


class Statistics(RowFamily):
    """Counts and rollups; no command reads them."""

    rank = 4

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def save(self, deltas: Iterable[JobDelta], now: int) -> bool:
        """Add what the batch did."""
        statistics = StatisticsDelta()
        for delta in deltas:
            statistics.add(delta, now)
        add_statistics(self._connection, self._dialect, statistics)
        return False
