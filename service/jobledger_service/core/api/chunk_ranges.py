"""Which of the changed chunks a watch message lists one by one, and which as ranges by their state."""

from collections.abc import Iterable, Iterator
from itertools import chain

from jobledger.v1 import chunk_pb2

from jobledger_service.core.model.bounds.limits import CHUNK_RANGES_FROM
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.history.change import ChangeType, JobDelta
from jobledger_service.core.model.holds import HELD_BY_JOB
from jobledger_service.core.model.states import ChunkState

from .convert import CHUNK_STATES


def ranges_of(delta: JobDelta) -> tuple[list[chunk_pb2.ChunkRange], list[Chunk]]:
    """Return the ranges of chunks that are listed by their state, and the chunks that are listed one by one."""
    imported = any(change.type is ChangeType.IMPORTED for change in delta.changes)
    swept = [(run.first, run.last, run.state) for run in delta.swept.ranges] if delta.swept else []
    if len(delta.chunks) < CHUNK_RANGES_FROM and not imported:
        return [_range(*run) for run in swept], list(delta.chunks.values())
    single: list[Chunk] = []
    ranged: list[Chunk] = []
    for chunk in delta.chunks.values():
        (ranged if imported or _plain(chunk) else single).append(chunk)
    return [_range(*run) for run in chain(swept, _runs(ranged))], single


def _runs(chunks: Iterable[Chunk]) -> Iterator[tuple[int, int, ChunkState]]:
    """Yield the first and the last index of adjacent chunks in one state, and that state."""
    first, last, state = 0, -1, None
    for chunk in chunks:
        index = chunk.index
        if state is not chunk.state or index != last + 1:
            if state is not None:
                yield first, last, state
            first, state = index, chunk.state
        last = index
    if state is not None:
        yield first, last, state


def _range(first: int, last: int, state: ChunkState) -> chunk_pb2.ChunkRange:
    return chunk_pb2.ChunkRange(first_index=first, last_index=last, state=CHUNK_STATES[state])


def _plain(chunk: Chunk) -> bool:
    return chunk.state is ChunkState.CANCELLED or (chunk.state is ChunkState.PENDING and not chunk.held & ~HELD_BY_JOB)
