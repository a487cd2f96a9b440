"""What a batch adds to counts, rollups and failures: rows that all replicas write to, last before the counter row."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import counts, rollups
from jobledger_service.core.model.history.change import JobDelta
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.write.row_families import OpenFamily, RowFamily

from .failure_rows import add_failures
from .rollup import StatisticsDelta

_NAMES: Final = {table: [one.name for one in table.columns if one.computed is None] for table in (counts, rollups)}
"""The columns that are written."""


def statistics_family(dialect: Dialect) -> OpenFamily:
    """Return the family of counts, rollups and failures."""
    return lambda transaction, _undo: Statistics(transaction.connection, dialect)


class Statistics(RowFamily):
    """Counts, rollups and failures; no command reads them."""

    rank = 6

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def save(self, deltas: Iterable[JobDelta], now: Micros) -> bool:
        """Add what the batch did."""
        statistics = StatisticsDelta()
        for delta in deltas:
            statistics.add(delta, now)
        add_statistics(self._connection, self._dialect, statistics)
        return False


def add_statistics(connection: Connection, dialect: Dialect, statistics: StatisticsDelta) -> None:
    """Add to counts, then to rollups and failures, each in the order of keys."""
    row_sets = RowSets(dialect)
    for table, added in ((counts, statistics.counts()), (rollups, statistics.rollups())):
        names = _NAMES[table]
        row_sets.add(connection, table, [dict(zip(names, (*key, *sums), strict=True)) for key, sums in added])
    add_failures(connection, dialect, statistics.failures)
