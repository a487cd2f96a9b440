"""Rows of jobs to jobs and their statuses, and back."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_

from jobledger_service.core.ledger.entry import JOB_ITSELF
from jobledger_service.core.ledger.read_ports import JobStatus
from jobledger_service.core.model.fields import JOB_FIELDS, Kept
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import JobState

from .cells import Row
from .row_functions import body_reader, row_reader, row_writer
from .tables import artifact_versions, incarnation, jobs

JOB_COLUMNS, job_of = row_reader(Job, JOB_FIELDS, jobs)
"""The columns of a job and of its artifacts, which WHOLE_JOBS has, and the function from a row of them to the job."""
WHOLE_JOBS: Final = jobs.outerjoin(
    artifact_versions,
    and_(
        artifact_versions.c.job_key == jobs.c.job_key,
        artifact_versions.c.incarnation == incarnation,
        artifact_versions.c.chunk_index == JOB_ITSELF,
        artifact_versions.c.revision == jobs.c.artifacts_revision,
    ),
)

job_row = row_writer(Job, JOB_FIELDS, Kept.KEY, Kept.COLUMN, Kept.CURRENT)
"""The function from a job to the columns that change after its creation, and its key."""

_new_row = row_writer(Job, JOB_FIELDS, *Kept)


def new_job_row(job: Job, input_: bytes | None) -> Row:
    """Return all columns of a job."""
    row = _new_row(job)
    row["input"] = input_
    return row


_PATHS: Final = [field.path for field in JOB_FIELDS]
_read_status: Final = body_reader(Job, JOB_FIELDS[: _PATHS.index("progress.rate") + 1], Kept.CURRENT)
"""Reads the first fields of the body, and not the rest."""
_STATUS: Final = "job_key job_id kind state revision update_time percent stage_percent work_total work_done current"
STATUS_COLUMNS: Final = [jobs.c[name] for name in _STATUS.split()]
read_current: Final = body_reader(Job, JOB_FIELDS, Kept.CURRENT)


def status_of(row: Sequence[Any]) -> JobStatus:
    """Return the status of a row of STATUS_COLUMNS."""
    key, job_id, kind, state, revision, update_time, percent, stage_percent, total, done, body = row
    current = _read_status(body)
    eta = current.rate.end_of(total - done) if current.rate and state == JobState.RUNNING else None
    return JobStatus(
        key,
        job_id,
        kind,
        current.display_name,
        state,
        revision,
        update_time,
        percent,
        current.stage,
        stage_percent,
        eta,
    )
