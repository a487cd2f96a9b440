"""Jobs for readers: their encoded segments, and the few values that reading them takes."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, func

from jobledger_service.core.ledger.read_ports import JobRead
from jobledger_service.core.model.states import JobState

from .cells import artifacts_of
from .tables import jobs

CHUNK_COUNT: Final[ColumnElement[int]] = (
    jobs.c.chunks_pending
    + jobs.c.chunks_processing
    + jobs.c.chunks_completed
    + jobs.c.chunks_failed
    + jobs.c.chunks_cancelled
)
_artifact_bytes: Final[ColumnElement[int]] = func.coalesce(func.length(jobs.c.artifacts), 0)
SHOWN_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    jobs.c.job_key,
    jobs.c.state,
    jobs.c.revision,
    jobs.c.create_time,
    jobs.c.priority,
    jobs.c.parked_for,
    CHUNK_COUNT,
    jobs.c.fixed,
    jobs.c.moving,
    _artifact_bytes,
)
SHOWN_BYTES: Final[ColumnElement[int]] = func.length(jobs.c.fixed) + func.length(jobs.c.moving) + _artifact_bytes
"""The bytes of a row's segments."""


def job_read(row: Sequence[Any]) -> JobRead:
    """Return the job of a row of SHOWN_COLUMNS, without its artifacts."""
    key, state, revision, create_time, priority, parked_for, chunk_count, fixed, moving, artifact_bytes = row
    return JobRead(
        key=key,
        state=JobState(state),
        revision=revision,
        create_time=create_time,
        priority=priority,
        parked_for=parked_for,
        chunk_count=chunk_count,
        message=fixed + moving,
        size=len(fixed) + len(moving) + artifact_bytes,
    )


def with_artifacts(job: JobRead, text: str | None) -> JobRead:
    """Return a job with its artifacts."""
    return replace(job, artifacts=artifacts_of(text)) if text else job
