"""Chunks that a batch makes claimable itself, for its own claims, whose walks over the queues did not see them.

They are the finalizers of which it completes the last other chunk, and the first chunks of jobs that get slots which it
frees. Both are loaded with the batch when it may come to that, and offered when it does.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState

from .loaded_rows import LoadedRows
from .picking import ClaimQuery, Picked
from .undo import Undo

MAX_PARKED: Final = 32
"""Jobs that may get slots in the batch that frees them; the duty of limits grants the others."""


class Offers:
    """The chunks that a batch may make claimable, and those that it did."""

    def __init__(self, rows: LoadedRows, undo: Undo) -> None:
        self.parked: list[str] = []
        """Jobs that wait for slots which the batch may free, the most urgent first."""
        self._rows = rows
        self._undo = undo
        self._offered: dict[ChunkKey, None] = {}

    def may_follow(self, chunks: Collection[ChunkKey]) -> set[ChunkKey]:
        """Return the chunks that may become claimable as these end: finalizers, and first chunks of parked jobs."""
        finalizers = {
            finalizer_of(job)
            for job, count in self._named(chunks)
            if job.finalizer_waits and job.counts.completed + count >= job.counts.total - 1
        }
        return finalizers | {(key, 0) for key in self.parked}

    def lock_parked(self, chunks: Collection[ChunkKey]) -> None:
        """Lock the most urgent jobs that wait for slots of jobs of which these chunks may be the last to end.

        They are up to twice as many as may end, as some may have to wait for another limit then.
        """
        ending = [job for job, count in self._named(chunks) if job.counts.pending + job.counts.processing <= count]
        if limits := {limit for job in ending for limit in job.slots}:
            store = self._rows.transaction
            waiting = store.first_parked(limits, min(2 * len(ending), MAX_PARKED))
            if found := [key for key in waiting if key not in self._rows.jobs]:
                free = store.lock_free(found)
                self.parked = [key for key in found if key in free]
                self._rows.lock({*self.parked})

    def _named(self, chunks: Collection[ChunkKey]) -> Iterator[tuple[Job, int]]:
        """Yield the loaded jobs of chunks, each with the number of its chunks among them."""
        jobs = self._rows.jobs
        return ((jobs[key], count) for key, count in Counter(key for key, _ in chunks).items() if key in jobs)

    def add(self, chunk: ChunkKey) -> None:
        """Offer a chunk to the claims that follow."""
        self._undo.put(self._offered, chunk, None)

    def added_to(self, picked: Picked, query: ClaimQuery, is_paused: Callable[[Job], bool]) -> Picked:
        """Return the chunks for a claim with the offered ones that it may lease, in the order of claims."""
        jobs = self._rows.jobs
        more = [key for key in self._offered if self._is_for(query, key) and not is_paused(jobs[key[0]])]
        if more:
            picked.chunks = sorted([*picked.chunks, *more], key=partial(self._place, query))[: query.limit]
        return picked

    def _is_for(self, query: ClaimQuery, key: ChunkKey) -> bool:
        chunk = self._rows.chunks.get(key[0], {}).get(key[1])  # None for one that cannot be read
        return chunk is not None and chunk.state is ChunkState.PENDING and query.covers(self._rows.jobs[key[0]])

    def _place(self, query: ClaimQuery, key: ChunkKey) -> tuple[int | ChunkKey, ...]:
        """Return the place of a chunk in the order of claims; within a priority, owners keep their turns."""
        job = self._rows.jobs[key[0]]
        return (-job.priority, job.spec.create_time, key) if query.fleet is None else (-job.priority,)


def finalizer_of(job: Job) -> ChunkKey:
    """Return the key of the last chunk, which a finalizer is."""
    return job.key, job.counts.total - 1
