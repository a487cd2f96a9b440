"""Rows of chunks to chunks, and back."""

from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.fields import CHUNK_FIELDS, Kept
from jobledger_service.core.model.job import Job

from .cells import Row
from .row_functions import body_reader, row_reader, row_writer
from .tables import chunks

CHUNK_COLUMNS, chunk_of = row_reader(Chunk, CHUNK_FIELDS, chunks)
"""The columns of a chunk, and the function from a row of them to the chunk."""

read_current = body_reader(Chunk, CHUNK_FIELDS, Kept.CURRENT)
_row = row_writer(Chunk, CHUNK_FIELDS, Kept.KEY, Kept.COLUMN, Kept.CURRENT)
_new_row = row_writer(Chunk, CHUNK_FIELDS, *Kept)


def chunk_row(job: Job, chunk: Chunk) -> Row:
    """Return the columns of a chunk that change after its creation, and its key."""
    row = _row(chunk)
    row["priority"] = job.priority
    row["parked"] = int(bool(job.parked_for))
    return row


def new_chunk_row(job: Job, chunk: Chunk, input_: bytes | None) -> Row:
    """Return all columns of a chunk."""
    row = _new_row(chunk)
    row["priority"] = job.priority
    row["parked"] = int(bool(job.parked_for))
    row["owner"] = job.spec.owner
    row["kind"] = job.spec.kind
    row["input"] = input_
    return row
