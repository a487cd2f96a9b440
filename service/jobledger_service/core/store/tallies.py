"""The tally of a batch as rows."""

from jobledger_service.core.model.rollup import Tally

from .cells import Row


def count_rows(tally: Tally) -> list[Row]:
    """Return what is added to the counts."""
    return [
        {
            "owner": owner,
            "kind": kind,
            "state": state,
            "jobs": jobs,
            "chunks_pending": pending,
            "chunks_processing": processing,
        }
        for (owner, kind, state), (jobs, pending, processing) in tally.counts()
    ]


def rollup_rows(tally: Tally) -> list[Row]:
    """Return what is added to the rollups."""
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
        for (owner, hour, kind, measure, bucket), (count, total) in tally.rollups()
    ]
