"""What one commit did to a job, as numbers: durations of runs and attempts, waiting times, chunks of new jobs."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ENDED, JobState

from .change import ChangeType, JobDelta

_ATTEMPT_ENDED: Final = frozenset(
    {
        ChangeType.CHUNK_COMPLETED,
        ChangeType.CHUNK_FAILED,
        ChangeType.CHUNK_RELEASED,
        ChangeType.LEASE_EXPIRED,
        ChangeType.ATTEMPT_TIMED_OUT,
    }
)


class Measure(StrEnum):
    """What is measured; the values are names of metrics."""

    JOB_DURATION = "job_duration_seconds"
    ATTEMPT_DURATION = "attempt_duration_seconds"
    WAITING = "job_waiting_seconds"
    CHUNKS = "job_chunks"


def measured(delta: JobDelta) -> Iterator[tuple[Measure, float]]:
    """Yield what one commit did to a job. Chunks that a sweep ended are not known one by one."""
    job = delta.job
    followed = {(chunk.index, chunk.attempt_number): chunk for chunk in delta.attempts}
    for change in delta.changes:
        if change.type in _ATTEMPT_ENDED and (index := change.chunk_index) is not None:
            chunk = followed.get((index, change.attempt or 0)) or delta.chunks.get(index)
            if chunk is not None and chunk.start_time is not None and chunk.attempt_end_time is not None:
                yield Measure.ATTEMPT_DURATION, _seconds(chunk.start_time, chunk.attempt_end_time)
        if change.type is ChangeType.CREATED:
            yield Measure.CHUNKS, job.counts.total
        elif change.from_state is None or change.from_state is change.to_state or job.start_time is None:
            continue
        elif change.to_state is JobState.RUNNING:
            yield Measure.WAITING, _seconds(_ready_time(job), job.start_time)
        elif change.to_state in ENDED and job.end_time is not None:
            yield Measure.JOB_DURATION, _seconds(job.start_time, job.end_time)


def _ready_time(job: Job) -> int:
    """Return since when a job might have begun: its creation or schedule time, or its retry."""
    if job.retry_time is not None or job.schedule_time is None:
        return job.queued_time
    return max(job.queued_time, job.schedule_time)


def _seconds(since: int, until: int) -> float:
    return max(until - since, 0) / SECOND
