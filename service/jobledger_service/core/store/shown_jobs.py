"""Jobs for readers: their encoded segments, and the few values that reading them takes."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, func

from jobledger_service.core.ledger.read_ports import JobRead
from jobledger_service.core.model.states import JobState

from .tables import artifact_versions, jobs

CHUNK_COUNT: Final[ColumnElement[int]] = (
    jobs.c.chunks_pending
    + jobs.c.chunks_processing
    + jobs.c.chunks_completed
    + jobs.c.chunks_failed
    + jobs.c.chunks_cancelled
)
_artifact_bytes: Final = func.length(artifact_versions.c.encoded)
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
    jobs.c.artifacts_revision,
    _artifact_bytes,
)
"""The columns of a job that are read from WHOLE_JOBS, without its artifacts."""
WHOLE_COLUMNS: Final = (*SHOWN_COLUMNS, artifact_versions.c.encoded)
"""The same with its artifacts."""
SHOWN_BYTES: Final[ColumnElement[int]] = (
    func.length(jobs.c.fixed) + func.length(jobs.c.moving) + func.coalesce(_artifact_bytes, 0)
)
"""The bytes of a row's segments."""


def job_read(row: Sequence[Any]) -> JobRead:
    """Return the job of a row of SHOWN_COLUMNS, without its artifacts; raises ValueError when these are missing."""
    key, state, revision, create_time, priority, parked_for, chunk_count, fixed, moving, version, artifact_bytes = row
    if version is not None and artifact_bytes is None:
        raise ValueError("the artifacts are missing")
    return JobRead(
        key=key,
        state=JobState(state),
        revision=revision,
        create_time=create_time,
        priority=priority,
        parked_for=parked_for,
        chunk_count=chunk_count,
        message=fixed + moving,
        size=len(fixed) + len(moving) + (artifact_bytes or 0),
    )


def whole_job_read(row: Sequence[Any]) -> JobRead:
    """Return the job of a row of WHOLE_COLUMNS; raises ValueError when its artifacts are missing."""
    *shown, artifacts = row
    job = job_read(shown)
    return replace(job, message=job.message + artifacts) if artifacts else job
