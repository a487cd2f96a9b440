"""Chunks that became claimable in a batch: offered to its claims, whose walks over the queues did not see them."""

from collections.abc import Callable, Mapping
from functools import partial

from jobledger_service.core.model.chunk import Chunk, ChunkKey
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState

from .picking import ClaimQuery, Picked
from .undo import Undo


class Offers:
    """The chunks that a batch made claimable; `jobs` and `chunks` are those of the batch, as they are now."""

    def __init__(self, jobs: Mapping[str, Job], chunks: Mapping[str, Mapping[int, Chunk]], undo: Undo) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._undo = undo
        self._offered: dict[ChunkKey, None] = {}

    def add(self, chunk: ChunkKey) -> None:
        """Offer a chunk to the claims that follow."""
        self._undo.put(self._offered, chunk, None)

    def added_to(self, picked: Picked, query: ClaimQuery, is_paused: Callable[[Job], bool]) -> Picked:
        """Return the chunks for a claim with the offered ones that it may lease, in the order of claims."""
        more = [key for key in self._offered if self._is_for(query, key) and not is_paused(self._jobs[key[0]])]
        if more:
            picked.chunks = sorted([*picked.chunks, *more], key=partial(self._place, query))[: query.limit]
        return picked

    def _is_for(self, query: ClaimQuery, key: ChunkKey) -> bool:
        chunk = self._chunks.get(key[0], {}).get(key[1])  # None for one that cannot be read
        return chunk is not None and chunk.state is ChunkState.PENDING and query.covers(self._jobs[key[0]])

    def _place(self, query: ClaimQuery, key: ChunkKey) -> tuple[int | ChunkKey, ...]:
        """Return the place of a chunk in the order of claims; within a priority, owners keep their turns."""
        job = self._jobs[key[0]]
        return (-job.priority, job.spec.create_time, key) if query.fleet is None else (-job.priority,)
