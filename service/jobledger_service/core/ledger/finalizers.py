"""The finalizers of a batch: loaded when it may complete the last other chunk, and claimable in it when it does."""

from collections import Counter
from collections.abc import Collection, Mapping

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job


def may_be_next(jobs: Mapping[str, Job], chunks: Collection[ChunkKey]) -> set[ChunkKey]:
    """Return the finalizers of loaded jobs for which these chunks may be the last to complete."""
    named = Counter(key for key, _ in chunks)
    return {
        (key, jobs[key].counts.total - 1)
        for key, count in named.items()
        if key in jobs
        and jobs[key].finalizer_waits
        and _unfinished(jobs[key]) <= count + 1
        and jobs[key].finalizer_waits
        and jobs[key].counts.completed + count >= jobs[key].counts.total - 1
    }


def lifted(before: Job | None, job: Job) -> ChunkKey | None:
    """Return the finalizer of a job of which the last other chunk is now completed."""
    is_next = before is not None and before.finalizer_waits and job.finalizer_is_next
    return (job.key, job.counts.total - 1) if is_next else None


def _unfinished(job: Job) -> int:
    return job.counts.total - job.counts.completed
