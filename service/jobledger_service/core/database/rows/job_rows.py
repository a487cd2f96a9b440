"""Rows of jobs to jobs, and back; for readers, to their encoded segments and the few values that reading them takes."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, literal_column

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.tables import artifact_versions, jobs
from jobledger_service.core.model.fields import JOB_FIELDS, Kept
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.states import JobState

from .entry import JOB_ITSELF
from .paused_kinds import is_paused
from .reads import JobRead
from .row_functions import body_reader, comparison, row_reader, row_writer

JOB_COLUMNS, job_of = row_reader(Job, JOB_FIELDS, jobs)
"""The columns of a job and of its artifacts, which WHOLE_JOBS has, and the function from a row of them to the job."""
WHOLE_JOBS: Final = jobs.outerjoin(
    artifact_versions,
    and_(
        artifact_versions.c.job_key == jobs.c.job_key,
        artifact_versions.c.uid == jobs.c.uid,
        artifact_versions.c.chunk_index == JOB_ITSELF,
        artifact_versions.c.revision == jobs.c.artifacts_revision,
    ),
)

job_row = row_writer(Job, JOB_FIELDS, Kept.KEY, Kept.COLUMN, Kept.STEADY, Kept.CURRENT)
"""The function from a job to the columns that change after its creation, and its key."""
steady_job_row = row_writer(Job, JOB_FIELDS, Kept.KEY, Kept.COLUMN, Kept.CURRENT)
"""The same for a job of which no steady column changed."""
settled_job_row = row_writer(Job, JOB_FIELDS, Kept.KEY, Kept.SETTLED)
"""The same for the body of what only UpdateJob changes."""
is_steady_job: Final[Callable[[Job, Job], bool]] = comparison(JOB_FIELDS, Kept.STEADY)
"""Whether two states of a job have the same steady columns."""

_new_row = row_writer(Job, JOB_FIELDS, *Kept)

read_current: Final = body_reader(Job, JOB_FIELDS, Kept.CURRENT)
CHUNK_COUNT: Final[ColumnElement[int]] = (
    jobs.c.chunks_pending
    + jobs.c.chunks_processing
    + jobs.c.chunks_completed
    + jobs.c.chunks_failed
    + jobs.c.chunks_cancelled
)
NO_INPUTS: Final = Inputs()
_artifact_bytes: Final = func.length(artifact_versions.c.encoded)
MESSAGE_BYTES: Final[ColumnElement[int]] = func.length(jobs.c.fixed) + func.length(jobs.c.moving)
"""The bytes of a job's segments without its artifacts."""
SHOWN_BYTES: Final[ColumnElement[int]] = MESSAGE_BYTES + func.coalesce(_artifact_bytes, 0)
"""The bytes of a job's segments."""
SHOWN_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    jobs.c.job_key,
    jobs.c.state,
    jobs.c.revision,
    jobs.c.create_time,
    jobs.c.priority,
    jobs.c.parked_for,
    CHUNK_COUNT,
    jobs.c.chunks_completed,
    jobs.c.fixed,
    jobs.c.moving,
    jobs.c.artifacts_revision,
    _artifact_bytes,
    jobs.c.output_bytes,
    and_(jobs.c.chunks_pending > literal_column("0"), is_paused(jobs.c.owner, jobs.c.kind)),
)
"""The columns of a job that are read from WHOLE_JOBS in all views."""


def new_job_row(job: Job, input_: bytes | None) -> Row:
    """Return all columns of a job."""
    row = _new_row(job)
    row["input"] = input_
    return row


def job_read(row: Sequence[Any]) -> JobRead:
    """Return the job of a row of SHOWN_COLUMNS, its artifacts, its input and the input's bytes.

    Artifacts and input are None where they were not read. Raises ValueError when the store lacks the artifacts.
    """
    (
        key, state, revision, create_time, priority, parked_for, chunk_count, chunks_completed, fixed, moving, version,
        artifact_bytes, output_bytes, paused, artifacts, input_, input_bytes, *_,
    ) = row  # fmt: skip
    if version is not None and artifact_bytes is None:
        raise ValueError("the artifacts are missing")
    return JobRead(
        key,
        JobState(state),
        revision,
        create_time,
        priority,
        parked_for,
        chunk_count,
        fixed + moving + artifacts if artifacts else fixed + moving,
        len(fixed) + len(moving) + (artifact_bytes or 0) + input_bytes,
        output_bytes or 0 if state == JobState.COMPLETED else 0,
        NO_INPUTS if input_ is None else Inputs(input_),
        paused=bool(paused),
        chunks_completed=chunks_completed,
    )
