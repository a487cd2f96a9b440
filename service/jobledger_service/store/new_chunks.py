"""The chunks of new jobs: those that wait differ in their place and their input alone, and are written so."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.job import Job
from jobledger_service.domain.states import ChunkState

from .cells import Row
from .chunk_rows import new_chunk_row
from .row_sets import RowSets
from .tables import chunks

_OWN: Final = ("chunk_index", "first_item", "last_item", "input")
_MIN_ALIKE: Final = 64
"""Chunks of one job from which on a statement of their own is worth it."""

NewChunks = tuple[Job, Sequence[Chunk], Mapping[int, bytes]]


def insert_chunks(connection: Connection, row_sets: RowSets, new: Iterable[NewChunks]) -> None:
    """Insert the chunks of new jobs."""
    rows: list[Row] = []
    for job, of_job, inputs in new:
        alike = [chunk for chunk in of_job if _is_untouched(chunk)]
        if len(alike) < _MIN_ALIKE:
            alike = []
        else:
            row = new_chunk_row(job, alike[0], None)
            shared = {name: value for name, value in row.items() if name not in _OWN}
            row_sets.insert_alike(connection, chunks, shared, [_own(chunk, inputs) for chunk in alike])
        rows += [new_chunk_row(job, c, inputs.get(c.index)) for c in of_job if not alike or not _is_untouched(c)]
    row_sets.insert(connection, chunks, rows)


def _own(chunk: Chunk, inputs: Mapping[int, bytes]) -> Row:
    index = chunk.index
    values = (index, chunk.first_item, chunk.last_item, inputs.get(index))
    return dict(zip(_OWN, values, strict=True))


def _is_untouched(chunk: Chunk) -> bool:
    """Whether a chunk of a new job is as it began: it waits, and no worker has had it."""
    return chunk.state is ChunkState.PENDING and not chunk.fence
