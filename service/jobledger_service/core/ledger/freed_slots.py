"""The slots that a batch frees: jobs that wait for them get them in it, and claims of it their first chunks."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job
from jobledger_service.core.store.writing import Transaction

MAX_JOBS: Final = 32
"""Jobs that may get slots in the batch that frees them; the duty of limits grants the others."""


def first_parked(transaction: Transaction, jobs: Mapping[str, Job], chunks: Collection[ChunkKey]) -> list[str]:
    """Return the most urgent jobs that wait for slots of loaded jobs, of which these chunks may be the last to end.

    They are twice as many as may end, as some may have to wait for another limit then.
    """
    named = Counter(key for key, _ in chunks)
    ending = [jobs[key] for key, count in named.items() if key in jobs and _may_end(jobs[key], count)]
    limits = {limit for job in ending for limit in job.slots}
    return transaction.first_parked(limits, min(2 * len(ending), MAX_JOBS)) if limits else []


def _may_end(job: Job, count: int) -> bool:
    return job.counts.pending + job.counts.processing <= count
