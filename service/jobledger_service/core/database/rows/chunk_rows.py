"""Rows of chunks to chunks, and back."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import FromClause, LargeBinary, and_, cast, null, select

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.tables import artifact_versions, chunks, jobs
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.fields import ATTEMPT_FIELDS, CHUNK_FIELDS, Kept
from jobledger_service.core.model.job import Job

from .row_functions import body_reader, comparison, row_reader, row_writer

CHUNK_COLUMNS, chunk_of = row_reader(Chunk, CHUNK_FIELDS, chunks)
"""The columns of a chunk and of its artifacts, and the function from a row of them to the chunk."""

SHOWN_CHUNK_COLUMNS: Final = [
    cast(null(), LargeBinary).label(column.name) if column is chunks.c.checkpoint else column
    for column in CHUNK_COLUMNS
]
"""The same for those who show chunks: nobody but their workers sees checkpoints."""

UID_OF_CHUNK: Final = select(jobs.c.uid).where(jobs.c.job_key == chunks.c.job_key).scalar_subquery()

read_current = body_reader(Chunk, CHUNK_FIELDS, Kept.CURRENT)
_row = row_writer(Chunk, CHUNK_FIELDS, Kept.KEY, Kept.COLUMN, Kept.STEADY, Kept.CURRENT)
steady_chunk_row = row_writer(Chunk, CHUNK_FIELDS, Kept.KEY, Kept.COLUMN, Kept.CURRENT)
"""Returns the same columns as `chunk_row`, but for the steady ones, and the priority that a waiting chunk has."""
is_steady_chunk: Final[Callable[[Chunk, Chunk], bool]] = comparison(CHUNK_FIELDS, Kept.STEADY)
"""Whether two states of a chunk have the same steady columns."""
_new_row = row_writer(Chunk, CHUNK_FIELDS, *Kept)
attempt_row = row_writer(Chunk, ATTEMPT_FIELDS, *Kept)
"""Returns all columns of the attempt that left a chunk."""


def with_artifacts(source: FromClause) -> FromClause:
    """Return chunks of existing jobs joined with their artifacts."""
    version = and_(
        artifact_versions.c.job_key == chunks.c.job_key,
        artifact_versions.c.uid == UID_OF_CHUNK,
        artifact_versions.c.chunk_index == chunks.c.chunk_index,
        artifact_versions.c.revision == chunks.c.artifacts_revision,
    )
    return source.outerjoin(artifact_versions, version)


WHOLE_CHUNKS: Final = with_artifacts(chunks)


def chunk_row(job: Job, chunk: Chunk) -> Row:
    """Return the columns of a chunk that change after its creation, and its key."""
    return _row(chunk) | {"priority": job.priority}


def new_chunk_row(job: Job, chunk: Chunk, input_: bytes | None) -> Row:
    """Return all columns of a chunk."""
    of_job = {"owner": job.spec.owner, "kind": job.spec.kind, "priority": job.priority, "input": input_}
    return _new_row(chunk) | of_job
