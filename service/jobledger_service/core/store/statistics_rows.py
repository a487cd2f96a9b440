"""The additions of a batch as rows."""

from jobledger_service.core.model.rollup import StatisticsDelta

from .cells import Row


def count_rows(statistics: StatisticsDelta) -> list[Row]:
    """Return the additions to the counts."""
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


def rollup_rows(statistics: StatisticsDelta) -> list[Row]:
    """Return the additions to the rollups."""
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
