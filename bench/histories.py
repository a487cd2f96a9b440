"""Possible histories of a job: each is computed once by the model, and then repeated for many jobs at other times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from jobledger_service.core.model.bounds.limits import DAY, SECOND
from jobledger_service.core.model.chunk import Chunk, WorkError
from jobledger_service.core.model.history.change import Change, JobDelta, Step
from jobledger_service.core.model.job import Job, JobSpec, Stage
from jobledger_service.core.model.lifecycle import Cancellation, NewJob, cancel, create
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.work import (
    NO_RESULTS,
    NOTHING_NEW,
    Claim,
    Failure,
    WorkReport,
    claim,
    complete,
    fail,
    heartbeat,
)
from jobledger_service.core.write.stored_chunks import StoredChunks
from jobledger_service.features.statistics.rollup import StatisticsDelta
from msgspec.structs import replace

LEASE: Final = 30 * DAY
"""So long that a server that is started on the jobs finds none that has run out."""
ITEMS: Final = 500
STAGES: Final = (Stage("fetch", 1.0), Stage("process", 3.0))
ERRORS: Final = (
    WorkError("TIMEOUT", "the upstream host did not answer within 30 seconds"),
    WorkError("BAD_INPUT", "page 17 is not a readable image"),
    WorkError("OUT_OF_MEMORY", "the worker was stopped: it used more than 8 GiB"),
    WorkError("DENIED", "access to the bucket was refused"),
    WorkError("CODEC", "unsupported codec in stream 2"),
)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How a story goes: the state that it ends in, how many chunks, and seconds until it starts and that it takes."""

    state: JobState
    chunks: int
    waits: int
    takes: int
    error: int = 0


@dataclass(slots=True)
class JobHistory:
    """A job that was created at 0 and what each commit did to it."""

    job: Job
    chunks: dict[int, Chunk]
    deltas: list[tuple[int, JobDelta]] = field(default_factory=list)

    def commit(self, now: Micros, steps: Sequence[Step]) -> None:
        """Take what one commit decided; each step was made from the job that the one before left."""
        sweeps = [step.sweep for step in steps if step.sweep is not None]
        swept = (sweep.applied(chunk) for sweep in sweeps for chunk in self.chunks.values() if sweep.covers(chunk))
        changed = {chunk.index: chunk for chunk in (*(c for step in steps for c in step.chunks), *swept)}
        changes = [step.change for step in steps if isinstance(step.change, Change)]
        before = self.job if self.deltas else None
        self.job = replace(steps[-1].job, revision=len(self.deltas) + 1, update_time=now)
        self.chunks |= changed
        error = self.job.error if before and before.error is None else None
        delta = JobDelta(before, self.job, changes, changed, failures=[error] if error else [])
        self.deltas.append((now, delta))


@lru_cache(maxsize=8_192)
def simulate(plan: JobPlan) -> JobHistory:
    """Return the story of a plot."""
    new = NewJob(JobSpec("", "", "", b"", stages=STAGES), [ITEMS] * plan.chunks)
    created = create(new, "caller", Micros(0))
    history = JobHistory(created.job, {})
    history.commit(Micros(0), [created])
    start = Micros(plan.waits * SECOND)
    end = Micros(start + plan.takes * SECOND)
    if plan.state is JobState.CANCELLED and plan.error == 0:
        _cancel(history, start, force=False)
    elif plan.state is not JobState.QUEUED:
        _work(history, plan, start, end)
    if history.job.state is not plan.state:
        raise ValueError(f"{plan} ends in {history.job.state}")
    return history


def _work(history: JobHistory, plan: JobPlan, start: Micros, end: Micros) -> None:
    """Let one worker take all chunks, report, and come to the end that the plot asks for."""
    by = Claim("worker-7.pool-a", LEASE)
    _each(history, start, lambda job, chunk: claim(job, chunk, by, start))
    half = Micros((start + end) // 2)
    report = WorkReport(ProgressReport(percent=50.0, stage="fetch", message="halfway"))
    _each(history, half, lambda job, chunk: heartbeat(job, chunk, report, LEASE, half))
    match plan.state:
        case JobState.COMPLETED:
            _each(history, end, lambda job, chunk: complete(job, chunk, NOTHING_NEW, NO_RESULTS, end))
        case JobState.FAILED:
            _each(history, end, lambda job, chunk: _end(job, chunk, plan, end))
        case JobState.CANCELLING | JobState.CANCELLED:
            _cancel(history, end, force=plan.state is JobState.CANCELLED)


def _end(job: Job, chunk: Chunk, plan: JobPlan, now: Micros) -> Step:
    """Fail the last chunk, and complete the others."""
    if chunk.index < plan.chunks - 1:
        return complete(job, chunk, NOTHING_NEW, NO_RESULTS, now)
    failure = Failure(ERRORS[plan.error], 0.0, not_retryable=True)
    return fail(job, chunk, NOTHING_NEW, failure, _all(job, {}), now)


def _each(history: JobHistory, now: Micros, decide: Callable[[Job, Chunk], Step]) -> None:
    """Commit one decision for each chunk."""
    steps: list[Step] = []
    for chunk in list(history.chunks.values()):
        steps.append(decide(steps[-1].job if steps else history.job, chunk))
    history.commit(now, steps)


def _cancel(history: JobHistory, now: Micros, *, force: bool) -> None:
    how = Cancellation(LEASE, "no longer needed", force=force)
    _, step = cancel(history.job, _all(history.job, history.chunks), how, "caller", now)
    if step is not None:
        history.commit(now, [step])


def _all(job: Job, chunks: Mapping[int, Chunk]) -> StoredChunks:
    return StoredChunks(job.key, chunks, lambda: None)


def shifted(job: Job, to: Job) -> Job:
    """Return a job of a story with the identity of `to`, and its times counted from the creation of that."""
    by = to.spec.create_time
    rate = job.progress.rate
    progress = replace(job.progress, rate=rate and replace(rate, since=rate.since + by, at=rate.at + by))
    return replace(
        job,
        spec=to.spec,
        display_name=to.display_name,
        priority=to.priority,
        labels=to.labels,
        progress=progress,
        stage_timings=tuple(replace(timing, **_times(timing, by, _TIMING)) for timing in job.stage_timings),
        **_times(job, by, _JOB),
    )


def shifted_chunk(chunk: Chunk, job: Job) -> Chunk:
    """Return a chunk of a story as one of a job."""
    return replace(chunk, job_key=job.key, **_times(chunk, job.spec.create_time, _CHUNK))


_JOB: Final = ("update_time", "start_time", "end_time", "deadline")
_TIMING: Final = ("start_time", "end_time")
_CHUNK: Final = ("create_time", "stage_time", "start_time", "end_time", "lease_expire_time")


def _times(value: object, by: int, names: Sequence[str]) -> dict[str, int]:
    """Return the times that a value has, later."""
    return {name: time + by for name in names if (time := getattr(value, name)) is not None}


def write_history(history: JobHistory, to: Job, statistics: StatisticsDelta) -> Job:
    """Return the job that a story makes of `to`, and add what happened to it to a tally."""
    before: Job | None = None
    for now, delta in history.deltas:
        job = shifted(delta.job, to)
        statistics.add(replace(delta, before=before, job=job), Micros(to.spec.create_time + now))
        before = job
    return job
