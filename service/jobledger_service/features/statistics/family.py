"""What a batch adds to counts, rollups and failures: rows that all replicas write to, last before the counter row."""

from typing import Final

from sqlalchemy import Connection

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import counts
from jobledger_service.core.write.batch_changes import BatchChanges
from jobledger_service.core.write.row_families import Projection
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction

from .failure_rows import add_failures
from .rollup import StatisticsDelta
from .tables import rollups

_NAMES: Final = {
    table: [column.name for column in table.columns if column.computed is None] for table in (counts, rollups)
}
"""The columns that are written."""


class Statistics(Projection):
    """Counts, rollups and failures; no command reads them."""

    rank = 6

    def __init__(self, dialect: Dialect, transaction: Transaction, _undo: Undo) -> None:
        self._connection = transaction.connection
        self._dialect = dialect

    def save(self, changes: BatchChanges) -> None:
        statistics = StatisticsDelta()
        for delta in changes.deltas:
            statistics.add(delta, changes.now)
        add_statistics(self._connection, self._dialect, statistics)


def add_statistics(connection: Connection, dialect: Dialect, statistics: StatisticsDelta) -> None:
    """Add to counts, then to rollups and failures, each in the order of keys."""
    row_sets = RowSets(dialect)
    for table, added in ((counts, statistics.counts()), (rollups, statistics.rollups())):
        names = _NAMES[table]
        row_sets.add(connection, table, [dict(zip(names, (*key, *sums), strict=True)) for key, sums in added])
    add_failures(connection, dialect, statistics.failures)
