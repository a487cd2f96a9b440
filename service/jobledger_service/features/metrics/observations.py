"""What histograms by kind observe in a commit: durations of jobs and attempts, waiting times, chunks of new jobs."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.history.change import ChangeType, JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ENDED, JobState

_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400)
_CHUNKS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_ATTEMPT_ENDED: Final = frozenset(
    {
        ChangeType.CHUNK_COMPLETED,
        ChangeType.CHUNK_FAILED,
        ChangeType.CHUNK_RELEASED,
        ChangeType.LEASE_EXPIRED,
        ChangeType.ATTEMPT_TIMED_OUT,
    }
)


class Observed(StrEnum):
    """What is observed; the values are names of metrics."""

    JOB_DURATION = "job_duration_seconds"
    ATTEMPT_DURATION = "attempt_duration_seconds"
    WAITING = "job_waiting_seconds"
    CHUNKS = "job_chunks"

    @property
    def bounds(self) -> Sequence[float]:
        """The upper bounds of the buckets."""
        return _CHUNKS if self is Observed.CHUNKS else _SECONDS


SENTENCES: Final = {
    Observed.JOB_DURATION: "How long runs of jobs of a kind took, from their first claim to their end.",
    Observed.ATTEMPT_DURATION: "How long attempts at chunks of a kind took, up to a report or a time limit.",
    Observed.WAITING: "How long jobs of a kind waited for their first claim, since they might begin.",
    Observed.CHUNKS: "How many chunks new jobs of a kind have.",
}


class Observations:
    """Numbers of one histogram, counted by bucket."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a number."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bound of each bucket, and how many numbers are not above it."""
        names = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def observed(delta: JobDelta) -> Iterator[tuple[Observed, float]]:
    """Return what a commit did to one job that histograms count. Chunks that a sweep ended are not known one by one."""
    job = delta.job
    followed = {(chunk.index, chunk.attempt_number): chunk for chunk in delta.attempts}
    for change in delta.changes:
        if change.type in _ATTEMPT_ENDED and (index := change.chunk_index) is not None:
            chunk = followed.get((index, change.attempt or 0)) or delta.chunks.get(index)
            if chunk is not None and chunk.start_time is not None and chunk.attempt_end_time is not None:
                yield Observed.ATTEMPT_DURATION, _seconds(chunk.start_time, chunk.attempt_end_time)
        if change.type is ChangeType.CREATED:
            yield Observed.CHUNKS, job.counts.total
        elif change.from_state is None or change.from_state is change.to_state or job.start_time is None:
            continue
        elif change.to_state is JobState.RUNNING:
            yield Observed.WAITING, _seconds(_ready_time(job), job.start_time)
        elif change.to_state in ENDED and job.end_time is not None:
            yield Observed.JOB_DURATION, _seconds(job.start_time, job.end_time)


def _ready_time(job: Job) -> int:
    """Return since when a job might have begun: its creation or schedule time, or its retry."""
    if job.retry_time is not None or job.schedule_time is None:
        return job.queued_time
    return max(job.queued_time, job.schedule_time)


def _seconds(since: int, until: int) -> float:
    return max(until - since, 0) / SECOND
