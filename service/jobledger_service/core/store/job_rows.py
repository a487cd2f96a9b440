"""Rows of jobs to jobs, and back."""

from typing import Final

from sqlalchemy import and_

from jobledger_service.core.model.fields import JOB_FIELDS, Kept
from jobledger_service.core.model.job import Job

from .cells import Row
from .entry import JOB_ITSELF
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


read_current: Final = body_reader(Job, JOB_FIELDS, Kept.CURRENT)
