"""What a batch adds to counts and rollups, as rows."""

from sqlalchemy import Connection

from jobledger_service.core.model.rollup import StatisticsDelta
from jobledger_service.core.store.cells import Row
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.row_sets import RowSets
from jobledger_service.core.store.tables import counts, rollups


def add_statistics(connection: Connection, dialect: Dialect, statistics: StatisticsDelta) -> None:
    """Add to counts, then to rollups, each in the order of keys."""
    row_sets = RowSets(dialect)
    row_sets.add(connection, counts, _count_rows(statistics))
    row_sets.add(connection, rollups, _rollup_rows(statistics))


def _count_rows(statistics: StatisticsDelta) -> list[Row]:
    return [
        {
            "owner": owner,
            "kind": kind,
            "state": state,
            "jobs": jobs,
            "chunks_pending": pending,
            "chunks_processing": processing,
        }
        for (owner, kind, state), (jobs, pending, processing) in statistics.counts()
    ]


def _rollup_rows(statistics: StatisticsDelta) -> list[Row]:
    return [
        {
            "owner": owner,
            "hour": hour,
            "kind": kind,
            "measure": measure,
            "bucket": bucket,
            "count": count,
            "total": total,
        }
        for (owner, hour, kind, measure, bucket), (count, total) in statistics.rollups()
    ]
