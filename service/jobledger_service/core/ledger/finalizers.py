"""The finalizers of a batch: loaded when it may complete the last other chunk, and claimable in it when it does."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job

from .picking import ClaimQuery, Picked
from .undo import Undo


class Finalizers:
    """The finalizers for which a batch completed the last other chunk; `jobs` are its jobs, as they are now."""

    def __init__(self, jobs: Mapping[str, Job], undo: Undo) -> None:
        self._jobs = jobs
        self._undo = undo
        self._next: dict[str, None] = {}

    def may_be_next(self, chunks: Collection[ChunkKey]) -> set[ChunkKey]:
        """Return the finalizers of loaded jobs for which these chunks may be the last to complete."""
        named = Counter(key for key, _ in chunks)
        jobs = [(self._jobs[key], count) for key, count in named.items() if key in self._jobs]
        return {
            (job.key, job.counts.total - 1)
            for job, count in jobs
            if job.finalizer_waits and job.counts.completed + count >= job.counts.total - 1
        }

    def lifted(self, before: Job | None, job: Job) -> ChunkKey | None:
        """Return the finalizer of a job of which the last other chunk is now completed."""
        if before is None or job.spec.finalizer_work is None or not (before.finalizer_waits and job.finalizer_is_next):
            return None
        self._undo.put(self._next, job.key, None)
        return job.key, job.counts.total - 1

    def offered(self, query: ClaimQuery, picked: Picked, is_paused: Callable[[Job], bool]) -> Picked:
        """Return the chunks for a claim with the finalizers that it may lease, in the order of claims."""
        jobs = (self._jobs[key] for key in self._next)
        found = (job for job in jobs if job.finalizer_is_next and query.covers(job) and not is_paused(job))
        if more := [(job.key, job.counts.total - 1) for job in found]:
            picked.chunks = sorted([*picked.chunks, *more], key=partial(self._place, query))[: query.limit]
        return picked

    def _place(self, query: ClaimQuery, key: ChunkKey) -> tuple[int | ChunkKey, ...]:
        """Return the place of a chunk in the order of claims; within a priority, owners keep their turns."""
        job = self._jobs[key[0]]
        return (-job.priority, job.spec.create_time, key) if query.fleet is None else (-job.priority,)
