"""What callers decide about a job: create, cancel, retry, delete; the end of its holds and of its time."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby, islice
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .bounds.limits import DEFAULT_PRIORITY
from .chunk import TIMED_OUT, Chunk, WorkError
from .counts import Counts
from .durations import duration_text
from .history.change import SERVICE_ACTOR, Change, ChangeType, Step
from .job import NO_LABELS, Job, JobSpec
from .job_progress import JobProgress
from .micros import Micros
from .refusals.errors import (
    ChunkNotFound,
    EtagMismatch,
    JobEnded,
    JobNotEnded,
    NothingToRetry,
)
from .states import RETRYABLE, UNFINISHED, WAITING, ChunkState, JobState
from .sweep import NO_TOTALS, JobChunks, Sweep, Totals

MAX_RUNS: Final = 20
"""Runs of retried chunks that a job's history names."""


class NewJob(MsgStruct, frozen=True):
    """The job that a caller wants to create; `sizes` are the chunks' items, 0 for one without items; no finalizer."""

    spec: JobSpec
    sizes: Sequence[int]
    display_name: str = ""
    priority: int = DEFAULT_PRIORITY
    labels: Mapping[str, str] = NO_LABELS
    expire_time: Micros | None = None
    schedule_time: Micros | None = None

    @property
    def chunk_count(self) -> int:
        """The number of its chunks, with the finalizer."""
        return len(self.sizes) + (self.spec.finalizer_work is not None)


def sizes_of(item_count: int | None, chunk_size: int) -> list[int]:
    """Return the items of each chunk: 2,500 by 500 is five times 500; without items there is one chunk."""
    if item_count is None:
        return [0]
    whole, rest = divmod(item_count, chunk_size)
    return [chunk_size] * whole + [rest] * bool(rest)


def create(new: NewJob, actor: str, now: Micros, calendar: Micros | None = None) -> Step:
    """Return a new job and its chunks; its schedule_time has come by the `calendar`, without one by `now`."""
    spec = replace(new.spec, create_time=now)
    chunks = tuple(_chunks(spec, new.sizes))
    work = sum(chunk.work for chunk in chunks)
    job = Job(
        spec=spec,
        progress=JobProgress(work_total=work, items_total=sum(new.sizes)),
        counts=Counts(pending=len(chunks)),
        update_time=now,
        display_name=new.display_name,
        priority=new.priority,
        labels=new.labels,
        expire_time=new.expire_time,
        schedule_time=new.schedule_time,
        held_until=future(new.schedule_time, now if calendar is None else calendar),
    )
    return Step(job, chunks, Change(ChangeType.CREATED, actor, None, job.state))


def future(time: Micros | None, now: Micros) -> Micros | None:
    """Return a time that has not come; None for another."""
    return time if time is not None and now < time else None


def _chunks(spec: JobSpec, sizes: Sequence[int]) -> Iterable[Chunk]:
    key, now, attempts, first = spec.key, spec.create_time, spec.retry_policy.max_attempts, 0
    for index, size in enumerate(sizes):
        if size:
            yield Chunk(key, index, now, attempts, first, first + size - 1)
            first += size
        else:
            yield Chunk(key, index, now, attempts)
    if spec.finalizer_work is not None:
        yield Chunk(key, len(sizes), now, attempts, finalizer_work=spec.finalizer_work)


def check_etag(job: Job, etag: str) -> None:
    """Raise EtagMismatch when `etag` is set and differs from the job's."""
    if etag and etag != job.etag:
        raise EtagMismatch(job.spec.job_id, job.etag)


class CancelOutcome(StrEnum):
    """The result of a cancellation."""

    CANCELLED = "CANCELLED"
    REQUESTED = "REQUESTED"
    ALREADY_ENDED = "ALREADY_ENDED"


class Cancellation(MsgStruct, frozen=True):
    """How to stop a job: `grace` in microseconds; `force` does not wait for the workers."""

    grace: int
    reason: str = ""
    force: bool = False


def stopped_by(how: Cancellation) -> Collection[ChunkState]:
    """Return the states of the chunks that a cancellation stops at once."""
    return UNFINISHED if how.force else WAITING


def cancel(
    job: Job, chunks: JobChunks, how: Cancellation, actor: str, now: Micros
) -> tuple[CancelOutcome, Step | None]:
    """Stop a job: pending chunks at once; chunks in work with `force` too, else when workers release them."""
    if job.ended:
        return CancelOutcome.ALREADY_ENDED, None
    before = job.state
    job, sweep = stop_chunks(job, stopped_by(how), lambda: chunks.totals(now), now)
    reason = how.reason or job.cancel_reason
    if not job.counts.processing:
        job = replace(stop(job, now), cancel_reason=reason)
        outcome = CancelOutcome.CANCELLED
    else:
        deadline = now + how.grace if job.deadline is None else min(now + how.grace, job.deadline)
        unchanged = before is JobState.CANCELLING and deadline == job.deadline and reason == job.cancel_reason
        if unchanged:
            return CancelOutcome.REQUESTED, None
        if before is JobState.RUNNING:
            job = job.to(JobState.CANCELLING, now)
        job = replace(job, cancel_reason=reason, deadline=deadline)
        outcome = CancelOutcome.REQUESTED
    change = Change(ChangeType.CANCEL_REQUESTED, actor, before, job.state, reason=how.reason)
    return outcome, Step(job, (), change, sweep)


def end_overdue(job: Job, chunks: JobChunks, now: Micros, delay: int = 0) -> Step | None:
    """End a job whose deadline has come; None when it has not.

    A CANCELLING job is stopped. A RUNNING one fails, `delay` microseconds later: reports that arrived before are
    applied by then.
    """
    if job.has_timed_out(Micros(now - delay)):
        return _time_out(job, chunks, now)
    if job.state is not JobState.CANCELLING or job.deadline is None or now < job.deadline:
        return None
    how = Cancellation(grace=0, reason="the grace period ended", force=True)
    _, step = cancel(job, chunks, how, SERVICE_ACTOR, now)
    return step and replace(step, job=replace(step.job, cancel_reason=job.cancel_reason))


def _time_out(job: Job, chunks: JobChunks, now: Micros) -> Step:
    """Fail a job that has run for too long; this stops its unfinished chunks."""
    message = f"the job ran longer than its run_timeout of {duration_text(job.spec.run_timeout or 0)}"
    error = WorkError(TIMED_OUT, message, job.progress.stage)
    stopped, sweep = stop_chunks(job, UNFINISHED, lambda: chunks.totals(now), now)
    failed = replace(stopped, first_failure=error).to(JobState.FAILED, now)
    change = Change(ChangeType.RUN_TIMED_OUT, SERVICE_ACTOR, job.state, failed.state, reason=message)
    return Step(failed, (), change, sweep)


def stop_chunks(
    job: Job, states: Collection[ChunkState], totals: Callable[[], Totals], now: Micros
) -> tuple[Job, Sweep | None]:
    """Return the job after a sweep stopped its chunks in these states, and the sweep; None when there are none.

    `totals` returns the sums over chunks in PROCESSING, if the sweep includes them.
    """
    moved = {state: count for state in sorted(states) if (count := job.counts.of(state))}
    if not moved:
        return job, None
    sweep = Sweep(moved, ChunkState.CANCELLED, now)
    return job.swept(sweep, totals() if ChunkState.PROCESSING in moved else NO_TOTALS), sweep


def stop(job: Job, now: Micros) -> Job:
    """Return the job CANCELLED, through CANCELLING where the transition table requires it."""
    if job.state is JobState.RUNNING:
        job = job.to(JobState.CANCELLING, now)
    return job.to(JobState.CANCELLED, now)


def retry(
    job: Job,
    chunks: JobChunks,
    indexes: Sequence[int],
    actor: str,
    reason: str,
    now: Micros,
    calendar: Micros | None = None,
) -> Step:
    """Start another run of the failed and cancelled chunks, or those of `indexes`; completed chunks stay.

    The run begins at once: a schedule_time that has not come by the `calendar`, without one by `now`, is removed. A job
    that has not ended continues its run: with the failed chunks of `indexes`, which are required then.
    """
    _check_retry(job, indexes)
    moved = _named(job, chunks, indexes) if indexes else _retryable(job)
    if not moved:
        raise NothingToRetry(job.spec.job_id, "all of its chunks are completed")
    before = job.state
    indexes = _with_finalizer(job, moved, indexes) if indexes else indexes
    sweep = Sweep(moved, ChunkState.PENDING, now, job.spec.retry_policy.max_attempts, tuple(sorted(set(indexes))))
    still_failed = job.counts.failed - moved.get(ChunkState.FAILED, 0)
    first_failure = chunks.first_error(sweep.indexes) if still_failed else None
    if job.ended:
        job = _new_run(job, now, now if calendar is None else calendar)
    job = replace(job, first_failure=first_failure).swept(sweep, NO_TOTALS)
    runs = tuple(islice(_runs(sweep.indexes), MAX_RUNS))
    change = Change(
        ChangeType.RETRIED, actor, before, job.state, reason=reason, chunk_count=sweep.count, chunk_runs=runs
    )
    return Step(job, (), change, sweep)


def _runs(indexes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last ones of runs of adjacent indexes, which rise."""
    for _, run in groupby(enumerate(indexes), lambda pair: pair[1] - pair[0]):
        adjacent = [index for _, index in run]
        yield adjacent[0], adjacent[-1]


def _retryable(job: Job) -> Counter[ChunkState]:
    return Counter({state: count for state in sorted(RETRYABLE) if (count := job.counts.of(state))})


def _new_run(job: Job, now: Micros, calendar: Micros) -> Job:
    """Return an ended job, queued for another run."""
    sums = job.progress
    percent = sums.work_done * 100 / sums.work_total
    return replace(
        job.to(JobState.QUEUED, now),
        retry_count=job.retry_count + 1,
        retry_time=now,
        start_time=None,
        schedule_time=job.schedule_time if future(job.schedule_time, calendar) is None else None,
        cancel_reason="",
        progress=replace(sums, percent=percent, rate=None, stage="", stage_percent=None, message=""),
    )


def _check_retry(job: Job, indexes: Sequence[int]) -> None:
    job_id = job.spec.job_id
    if job.state is JobState.COMPLETED:
        raise JobEnded(job_id, job.state, "a completed job is final")
    if job.state is JobState.CANCELLING:
        raise JobNotEnded(job_id, job.state, "retry it when it is CANCELLED")
    if not job.ended and not indexes:
        raise JobNotEnded(
            job_id, job.state, "only a FAILED or CANCELLED job is retried whole; name FAILED chunks to retry"
        )


def _named(job: Job, chunks: JobChunks, indexes: Sequence[int]) -> Counter[ChunkState]:
    """Return the number of named chunks by state; raises ChunkNotFound, NothingToRetry."""
    states = chunks.states(set(indexes))
    allowed = RETRYABLE if job.ended else {ChunkState.FAILED}
    for index in indexes:
        if index not in states:
            raise ChunkNotFound(job.spec.job_id, index, job.counts.total)
        if states[index] not in allowed:
            detail = f"chunk {index} is {states[index]}, not {' or '.join(sorted(allowed, reverse=True))}"
            raise NothingToRetry(job.spec.job_id, detail, chunk_index=str(index), state=states[index])
    return Counter(states.values())


def _with_finalizer(job: Job, moved: Counter[ChunkState], indexes: Sequence[int]) -> Sequence[int]:
    """Return the named chunks and the finalizer, when no other is left that must be completed before it.

    Adds it to `moved`. Raises NothingToRetry for a finalizer that would wait for a chunk that is not retried.
    """
    if job.spec.finalizer_work is None:
        return indexes
    finalizer, unnamed = job.counts.total - 1, sum(map(job.counts.of, RETRYABLE)) - moved.total()
    if finalizer not in indexes and unnamed == 1 and not job.finalizer_waits:
        moved[ChunkState.CANCELLED] += 1  # it never began: it would be the only one to retry otherwise
        return [*indexes, finalizer]
    if finalizer in indexes and unnamed:
        raise NothingToRetry(
            job.spec.job_id, f"chunk {finalizer} is its finalizer; {unnamed} chunks before it must be named too"
        )
    return indexes


def lift_schedule(job: Job, now: Micros) -> Step | None:
    """Let a job begin whose schedule_time has come; None when it has not. It then waits for its slots."""
    if job.held_until is None or now < job.held_until:
        return None
    change = Change(ChangeType.SCHEDULE_REACHED, SERVICE_ACTOR, job.state, job.state)
    return Step(replace(job, held_until=None), (), change)


def delete(job: Job, actor: str, *, force: bool, reason: str = "") -> Change:
    """Return the change that deletes a job; raises JobNotEnded for a job in work without `force`."""
    if not job.ended and not force:
        raise JobNotEnded(job.spec.job_id, job.state, "cancel it first, or delete it with force")
    return Change(ChangeType.DELETED, actor, job.state, None, reason=reason)
