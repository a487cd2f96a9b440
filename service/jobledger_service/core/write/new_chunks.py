"""The chunks of new jobs: waiting ones differ only in their place and input, and are written that way."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from jobledger_service.core.database.dialects import Columns
from jobledger_service.core.database.rows.chunk_rows import new_chunk_row
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import chunks
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState

if TYPE_CHECKING:
    from jobledger_service.core.database.cells import Row

_MIN_ALIKE: Final = 64
"""The number of chunks of one job from which a statement of their own is faster."""
_OF_JOB: Final = ("job_key", "create_time", "max_attempts", "held", "owner", "kind", "priority")
"""The columns in which waiting chunks of several jobs differ, beside their own."""

NewChunks = tuple[Job, Sequence[Chunk], Mapping[int, bytes]]


def insert_chunks(connection: Connection, row_sets: RowSets, new: Iterable[NewChunks]) -> None:
    """Insert the chunks of new jobs."""
    rows: list[Row] = []
    together: dict[tuple[object, ...], tuple[Row, Columns]] = {}
    for job, of_job, inputs in new:
        alike = [chunk for chunk in of_job if is_untouched(chunk)]
        if alike:
            differing, row = _differing_columns(alike, inputs), new_chunk_row(job, alike[0], None)
            if len(alike) < _MIN_ALIKE:
                differing |= {name: [row[name]] * len(alike) for name in _OF_JOB}
            shared = {name: value for name, value in row.items() if name not in differing}
            _, columns = together.setdefault(tuple(shared.items()), (shared, {name: [] for name in differing}))
            for name, values in differing.items():
                columns[name] += values
        if len(alike) < len(of_job):
            touched = (chunk for chunk in of_job if not is_untouched(chunk))
            rows += [new_chunk_row(job, chunk, inputs.get(chunk.index)) for chunk in touched]
    for shared, columns in together.values():
        row_sets.insert_alike(connection, chunks, shared, columns)
    row_sets.insert(connection, chunks, rows)


def _differing_columns(alike: Sequence[Chunk], inputs: Mapping[int, bytes]) -> Columns:
    """Return the columns in which such chunks of one job differ."""
    indexes = [chunk.index for chunk in alike]
    columns: Columns = {
        "chunk_index": indexes,
        "first_item": [chunk.first_item for chunk in alike],
        "last_item": [chunk.last_item for chunk in alike],
    }
    return columns | {"input": [*map(inputs.get, indexes)]} if inputs else columns


def is_untouched(chunk: Chunk) -> bool:
    """Whether a chunk of a new job is in its initial state, waiting and never leased, and not the finalizer."""
    return chunk.state is ChunkState.PENDING and not chunk.fence and chunk.finalizer_work is None
