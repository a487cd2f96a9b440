"""What workers do with a chunk: claim, report, complete, fail, release, or lose their lease."""

from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .bounds.limits import MAX_CHUNK_ARTIFACT_BYTES, MAX_CHUNK_ARTIFACTS, MAX_JOB_ARTIFACT_BYTES, MAX_JOB_ARTIFACTS
from .bounds.sizes import bytes_of_artifacts
from .bounds.slots import scope_of_key
from .chunk import NO_ARTIFACTS, NO_PROGRESS, TIMED_OUT, WHOLE, Artifacts, AttemptOutcome, Chunk, WorkError
from .durations import duration_text
from .history.change import SERVICE_ACTOR, Change, ChangeType, Step
from .holds import HoldReason
from .job import FailurePolicy, Job
from .leases import attempt_timeout
from .lifecycle import stop, stop_chunks
from .micros import Micros
from .progress import ProgressReport, advance
from .refusals.errors import ChunkNotClaimable, InvalidField
from .states import ENDED, UNFINISHED, WAITING, ChunkState, JobState, check_chunk_transition
from .sweep import NO_TOTALS, JobChunks, Sweep

_WHY_HELD: Final = {
    HoldReason.LIMIT: "its job waits for a slot under the limit {scope!r}",
    HoldReason.SCHEDULE: "the schedule_time of its job has not come",
    HoldReason.BACKOFF: "its next attempt is not yet due",
    HoldReason.FINALIZER: "it is the finalizer, and the other chunks of its job are not all COMPLETED",
}

_OF_CHUNK: Final = (MAX_CHUNK_ARTIFACTS, MAX_CHUNK_ARTIFACT_BYTES)
_OF_JOB: Final = (MAX_JOB_ARTIFACTS, MAX_JOB_ARTIFACT_BYTES)


class Claim(MsgStruct, frozen=True):
    """Who claims a chunk, and for how long (microseconds)."""

    worker: str
    lease_duration: int
    task_id: str = ""


def _limit_of(job: Job) -> str:
    return scope_of_key(job.parked_for).text if job.parked_for else ""


def claim(job: Job, chunk: Chunk, by: Claim, now: Micros) -> Step:
    """Lease a pending chunk to a worker; raises ChunkNotClaimable when it cannot be claimed."""
    if chunk.state is not ChunkState.PENDING:
        detail = "held by a worker" if chunk.state is ChunkState.PROCESSING else "it is not waiting for a worker"
        raise ChunkNotClaimable(job.spec.job_id, chunk.index, chunk.state, detail)
    if lifted := lift_backoff(job, chunk, now):  # a claim by index may come before the duty
        job, [chunk] = lifted.job, lifted.chunks
    if reasons := job.with_holds(chunk).holds:
        detail = _WHY_HELD[reasons[0]].format(scope=_limit_of(job))
        raise ChunkNotClaimable(job.spec.job_id, chunk.index, chunk.state, detail)
    before = job.state
    if before is JobState.QUEUED:
        job = job.to(JobState.RUNNING, now)
    taken = replace(
        chunk,
        state=ChunkState.PROCESSING,
        attempt=chunk.attempt + 1,
        fence=chunk.fence + 1,
        attempt_number=chunk.attempt_number + 1,
        outcome=None,
        attempt_end_time=None,
        worker=by.worker,
        task_id=by.task_id,
        progress=NO_PROGRESS,
        stage_time=None,
        start_time=now,
        end_time=None,
        lease_expire_time=_lease_end(job.spec.attempt_timeout, now, by.lease_duration, now),
        lease_duration=by.lease_duration,
        attempt_timeout=job.spec.attempt_timeout or 0,
        next_attempt_time=None,
    )
    change = _change(ChangeType.CLAIMED, taken, before, job.state)
    return Step(job.with_attempt(chunk).with_chunk(chunk, taken, now), (taken,), change)


def _change(
    type_: ChangeType, chunk: Chunk, before: JobState, after: JobState, reason: str = "", actor: str = ""
) -> Change:
    """Return a change of an attempt, by its worker unless another actor made it."""
    return Change(type_, actor or chunk.worker, before, after, chunk.index, reason, chunk.attempt_number, chunk.task_id)


def _lease_end(timeout: int | None, start: int, duration: int, now: Micros) -> int:
    """Return when a lease of this duration ends: never after the end of its attempt, which began at `start`."""
    return now + duration if timeout is None else min(now + duration, start + timeout)


class WorkReport(MsgStruct, frozen=True):
    """A worker's report on one chunk: the field `progress` of its entry in a call."""

    progress: ProgressReport | None = None
    artifacts: Artifacts = NO_ARTIFACTS
    job_artifacts: Artifacts = NO_ARTIFACTS
    checkpoint: bytes | None = None
    """An encoded Struct, an empty one to remove the checkpoint; None when it is unchanged."""


NOTHING_NEW: Final = WorkReport()


def heartbeat(job: Job, chunk: Chunk, report: WorkReport, lease_duration: int | None, now: Micros) -> Step:
    """Extend a held lease and apply the report; only a report with something new, but a checkpoint, is a change.

    A lease keeps its duration, in microseconds, unless `lease_duration` is another one; it ends with its attempt.
    """
    duration = lease_duration or chunk.lease_duration
    end = _lease_end(attempt_timeout(job, chunk), chunk.start_time or now, duration, now)
    extended = _with_checkpoint(replace(chunk, lease_expire_time=end, lease_duration=duration), report)
    after, new = _reported(job, extended, report, now)
    if new == extended and after is job:
        return Step(job, (extended,))
    return Step(after, (new,), _change(ChangeType.PROGRESSED, chunk, job.state, job.state))


def _with_checkpoint(chunk: Chunk, report: WorkReport) -> Chunk:
    return chunk if report.checkpoint is None else replace(chunk, checkpoint=report.checkpoint or None)


def _reported(job: Job, chunk: Chunk, report: WorkReport, now: Micros) -> tuple[Job, Chunk]:
    """Return job and chunk after a report: the same objects when it has nothing new."""
    after, previous, new = job, chunk, chunk
    if report.progress is not None:
        progress = advance(job, chunk, report.progress)
        visits, since = _visits(chunk, report.progress, now)
        for stage, began in visits:
            passing = replace(previous, progress=replace(previous.progress, stage=stage), stage_time=began)
            after, previous = after.with_stage(previous, passing, now), passing
        new = replace(chunk, progress=progress, stage_time=since)
    new, after = _with_artifacts(new, after, report)
    if new == chunk and after is job:
        return job, chunk
    return after.with_chunk(previous, new, now, reported=report.progress is not None), new


def _visits(chunk: Chunk, report: ProgressReport, now: Micros) -> tuple[list[tuple[str, int]], int | None]:
    """Return the finished stages, each with its start, and the start of the current one.

    The worker reports durations, since its clock may differ; no stage starts before the last report's.
    """
    stage = chunk.progress.stage if report.stage is None else report.stage
    if stage == chunk.progress.stage and not report.passed:
        return [], chunk.stage_time
    earliest = chunk.stage_time or chunk.start_time or now
    began = since = max(now - (report.stage_duration or 0), earliest)
    visits = []
    for passed, duration in reversed(report.passed):
        began = max(began - duration, earliest)
        visits.append((passed, began))
    return visits[::-1], since


def _with_artifacts(chunk: Chunk, job: Job, report: WorkReport) -> tuple[Chunk, Job]:
    if report.artifacts:
        merged = _merged(chunk.artifacts, report.artifacts, _OF_CHUNK, "progress.artifacts")
        if merged != chunk.artifacts:
            job = job.with_artifact_bytes(chunk.artifacts, merged)
            chunk = replace(chunk, artifacts=merged)
    if report.job_artifacts:
        merged = _merged(job.artifacts, report.job_artifacts, _OF_JOB, "progress.job_artifacts")
        if merged != job.artifacts:
            job = replace(job.with_artifact_bytes(job.artifacts, merged), artifacts=merged)
    return chunk, job


def _merged(old: Artifacts, new: Artifacts, bounds: tuple[int, int], field: str) -> Artifacts:
    """Return both; an artifact that differs only in its time keeps its first time."""
    merged = dict(old)
    for name, artifact in new.items():
        known = old.get(name)
        if known is None or replace(artifact, create_time=known.create_time) != known:
            merged[name] = artifact
    count, size = bounds
    if len(merged) > count:
        raise InvalidField((field, f"must make at most {count} artifacts with those stored; got {len(merged)}"))
    if (whole := bytes_of_artifacts(merged)) > size:
        raise InvalidField(
            (field, f"must make at most {size:,} bytes of artifacts with those stored; got about {whole:,}")
        )
    return merged


class Results(MsgStruct, frozen=True):
    """What a completion declares: where the job's result is, and the outputs of the chunk and of the job, encoded."""

    result_uri: str = ""
    output: bytes | None = None
    job_output: bytes | None = None


NO_RESULTS: Final = Results()


def complete(job: Job, chunk: Chunk, report: WorkReport, results: Results, now: Micros) -> Step:
    """End a held lease with success; the last completed chunk completes the job."""
    before = job.state
    job, chunk = _reported(job, chunk, report, now)
    progress = replace(chunk.progress, done=WHOLE, items_completed=chunk.items)
    new = _released(chunk, ChunkState.COMPLETED, AttemptOutcome.COMPLETED, now)
    new = replace(new, progress=progress, error=None, checkpoint=None)
    if results.result_uri:
        job = replace(job, declared_result=results.result_uri)
    if results.job_output is not None:
        job = replace(job, output_bytes=len(results.job_output))
    job, sweep = settle(job.with_chunk(chunk, new, now), now)
    return Step(job, (new,), _change(ChangeType.CHUNK_COMPLETED, chunk, before, job.state), sweep)


class Failure(MsgStruct, frozen=True):
    """Why an attempt failed; `jitter_sample`, uniform from 0 to 1, spreads the wait before the next attempt.

    `retry_delay`, in microseconds, replaces the wait of the retry policy.
    """

    error: WorkError
    jitter_sample: float
    not_retryable: bool = False
    retry_delay: int | None = None


def fail(job: Job, chunk: Chunk, report: WorkReport, failure: Failure, chunks: JobChunks, now: Micros) -> Step:
    """End a held lease with a failed attempt; `chunks` are the job's, which the policy may stop."""
    job, chunk = _reported(job, _with_checkpoint(chunk, report), report, now)
    step = _fail_attempt(job, chunk, failure, AttemptOutcome.FAILED, chunks, now)
    error = failure.error
    reason = f"{error.code}: {error.message}" if error.message else error.code
    change = _change(ChangeType.CHUNK_FAILED, chunk, job.state, step.job.state, reason)
    return replace(step, change=change)


def expire(job: Job, chunk: Chunk, jitter_sample: float, chunks: JobChunks, now: Micros, delay: int = 0) -> Step | None:
    """End a lease that expired `delay` microseconds ago as a failed attempt; None when it has not.

    An attempt whose lease lasted until its attempt_timeout has timed out: this is where an attempt ends by time.
    Reports that arrived before the end are applied during the delay.
    """
    if chunk.state is not ChunkState.PROCESSING or chunk.lease_expire_time is None:
        return None
    if now < chunk.lease_expire_time + delay:
        return None
    timeout = attempt_timeout(job, chunk)
    if timeout is not None and chunk.lease_expire_time >= (chunk.start_time or 0) + timeout:
        code, outcome, type_ = TIMED_OUT, AttemptOutcome.TIMED_OUT, ChangeType.ATTEMPT_TIMED_OUT
        message = f"the attempt took longer than its attempt_timeout of {duration_text(timeout)}"
    else:
        code, outcome, type_ = "LEASE_EXPIRED", AttemptOutcome.EXPIRED, ChangeType.LEASE_EXPIRED
        message = f"worker {chunk.worker} did not extend its lease in time"
    failure = Failure(WorkError(code, message, chunk.progress.stage), jitter_sample)
    step = _fail_attempt(job, chunk, failure, outcome, chunks, now)
    change = _change(type_, chunk, job.state, step.job.state, message, SERVICE_ACTOR)
    return replace(step, change=change)


def _fail_attempt(
    job: Job, chunk: Chunk, failure: Failure, outcome: AttemptOutcome, chunks: JobChunks, now: Micros
) -> Step:
    """End an attempt that failed; `outcome` says whether its worker, its lease or a time limit ended it."""
    error = replace(failure.error, chunk_index=chunk.index, stage=failure.error.stage or chunk.progress.stage)
    if job.state is JobState.CANCELLING:
        new = _released(chunk, ChunkState.CANCELLED, outcome, now)
    elif failure.not_retryable or chunk.attempt >= chunk.max_attempts:
        new = _released(chunk, ChunkState.FAILED, outcome, now)
    else:
        policy = job.spec.retry_policy
        before_this_run = chunk.max_attempts - policy.max_attempts
        wait = failure.retry_delay
        if wait is None:
            wait = policy.backoff(chunk.attempt - before_this_run, failure.jitter_sample)
        new = replace(
            _released(chunk, ChunkState.PENDING, outcome, now), next_attempt_time=now + wait if wait else None
        )
    new = replace(new, error=error)
    job = job.with_chunk(chunk, new, now)
    if new.state is ChunkState.FAILED and job.first_failure is None:
        job = replace(job, first_failure=error)
    sweep = None
    if new.state is ChunkState.FAILED and job.spec.failure_policy is FailurePolicy.FAIL_FAST:
        job, sweep = stop_chunks(job, UNFINISHED, lambda: chunks.totals(now, chunk.index), now)
    job, of_finalizer = settle(job, now)
    return Step(job, (new,), sweep=sweep or of_finalizer)


class Release(MsgStruct, frozen=True):
    """Why a chunk is released, and how long it waits before it may be claimed again (microseconds).

    `unheard` when no worker learned of the claim: it was no attempt.
    """

    reason: str = ""
    delay: int = 0
    unheard: bool = False


def release(job: Job, chunk: Chunk, report: WorkReport, release: Release, now: Micros) -> Step:
    """Release a held chunk without counting the attempt; in a CANCELLING job this cancels it."""
    job, chunk = _reported(job, _with_checkpoint(chunk, report), report, now)
    if job.state is JobState.CANCELLING:
        new = _released(chunk, ChunkState.CANCELLED, AttemptOutcome.RELEASED, now)
    else:
        new = _released(chunk, ChunkState.PENDING, AttemptOutcome.RELEASED, now)
        new = replace(new, attempt=chunk.attempt - 1, next_attempt_time=now + release.delay if release.delay else None)
    if release.unheard:
        new = replace(new, outcome=None, attempt_end_time=None, attempt_number=chunk.attempt_number - 1)
    after, sweep = settle(job.with_chunk(chunk, new, now), now)
    change = _change(ChangeType.CHUNK_RELEASED, chunk, job.state, after.state, release.reason)
    return Step(after, (new,), change, sweep)


def _released(chunk: Chunk, state: ChunkState, outcome: AttemptOutcome, now: Micros) -> Chunk:
    check_chunk_transition(chunk.state, state)
    return replace(
        chunk,
        state=state,
        outcome=outcome,
        attempt_end_time=now,
        lease_expire_time=None,
        stage_time=None,
        end_time=None if state is ChunkState.PENDING else now,
    )


def settle(job: Job, now: Micros) -> tuple[Job, Sweep | None]:
    """Return the job in the terminal state of its counts, or unchanged, and what stops its finalizer if that must be.

    A finalizer that waits alone waits for chunks that failed.
    """
    if job.state in ENDED or job.counts.processing or job.counts.pending > job.finalizer_waits:
        return job, None
    job, sweep = stop_chunks(job, WAITING, lambda: NO_TOTALS, now)
    if not job.counts.failed and not job.counts.cancelled:
        return job.to(JobState.COMPLETED, now), sweep
    if job.counts.failed and job.state is not JobState.CANCELLING:
        return job.to(JobState.FAILED, now), sweep
    return stop(job, now), sweep


def lift_backoff(job: Job, chunk: Chunk, now: Micros) -> Step | None:
    """Make a chunk claimable whose wait after an attempt is over; None when it is not."""
    if chunk.next_attempt_time is None or now < chunk.next_attempt_time:
        return None
    new = replace(chunk, next_attempt_time=None)
    return Step(job.with_chunk(chunk, new, now), (new,))
