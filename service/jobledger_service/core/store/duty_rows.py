"""Rows of limits and runs to their values, and back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import json

from jobledger_service.core.model.run import RunState
from jobledger_service.core.model.slots import Limit

from .cells import Row, json_text
from .tables import limits

LIMIT_COLUMNS: Final = [column for column in limits.c if column.name != "limit_key"]


def limit_of(row: Sequence[Any]) -> Limit:
    """Return the limit of a row of LIMIT_COLUMNS."""
    return Limit(*row)


def limit_row(limit: Limit) -> Row:
    """Return all columns of a new limit; what it holds is counted after."""
    return {
        "limit_key": limit.key,
        "owner": limit.owner,
        "scope": limit.scope,
        "max_running": limit.max_running,
        "running": 0,
        "waiting": 0,
        "by_job": limit.by_job,
        "set_time": limit.set_time,
    }


def run_of(row: Sequence[Any]) -> RunState:
    """Return the run of the columns cursors, counts and reported."""
    cursors, counts, reported = map(json.decode, row)
    return RunState({int(index): tuple(cursor) for index, cursor in cursors.items()}, counts, tuple(reported))


def run_row(job_key: str, run: RunState) -> Row:
    """Return the columns of a run."""
    return {
        "job_key": job_key,
        "cursors": json_text(dict(run.cursors)),
        "counts": json_text(dict(run.counts)),
        "reported": json_text([dict(one) for one in run.reported]),
    }
