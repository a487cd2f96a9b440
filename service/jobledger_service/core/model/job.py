"""A job: a piece of work in chunks, with the aggregates over them."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Final, Self

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .attempts import has_ended_attempt, max_kept_attempts
from .bounds.limits import DEFAULT_PRIORITY, MAX_DURATION, MAX_SUM, MAX_TIMED_STAGES
from .bounds.slots import scope_of_key
from .chunk import NO_ARTIFACTS, Artifacts, Chunk, WorkError, stored_bytes
from .counts import Counts
from .holds import Hold, HoldReason
from .job_progress import JobProgress, Rate
from .micros import Micros
from .retry import RetryPolicy
from .states import ENDED, ChunkState, JobState, check_job_transition
from .sweep import Sweep, Totals

NO_UID: Final = bytes(16)
"""That of a job that is only validated."""

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class FailurePolicy(StrEnum):
    """How the failure of a chunk affects the other chunks."""

    RUN_ALL = "RUN_ALL"
    FAIL_FAST = "FAIL_FAST"


class Stage(MsgStruct, frozen=True, array_like=True):
    """One phase of the declared plan; weight above 0, in any unit."""

    name: str
    weight: float = 1.0


class StageTiming(MsgStruct, frozen=True, array_like=True):
    """The time that a job's chunks have spent in a stage, in microseconds."""

    stage: str
    duration: int
    start_time: Micros
    end_time: Micros | None = None

    def with_more(self, duration: int, leave_time: int) -> Self:
        """Return the timing with the time of a chunk that left the stage at `leave_time`."""
        total = min(self.duration + max(duration, 0), MAX_DURATION)
        return replace(self, duration=total, end_time=max(leave_time, self.end_time or leave_time))


class Inputs(MsgStruct, frozen=True):
    """Encoded Structs: a job's input, and those of its chunks that have one."""

    job: bytes | None = None
    chunks: Mapping[int, bytes] = {}


class Outputs(Inputs, frozen=True):
    """Encoded Structs: a job's output, and those of its chunks that have one."""


NO_OUTPUTS: Final = Outputs()


def job_key(owner: str, job_id: str) -> str:
    """Return the ledger-wide key of a job; a job_id is unique within its owner only."""
    return f"{owner}/{job_id}"


def owner_of(key: str) -> str:
    """Return the owner of the job with a key."""
    return key.partition("/")[0]


def job_id_of(key: str) -> str:
    """Return the job_id of a ledger-wide key."""
    return key.partition("/")[2]


def uid_of(text: str) -> bytes:
    """Return the bytes of a uid in its canonical form."""
    return bytes.fromhex(text.replace("-", ""))


def uid_text(uid: bytes) -> str:
    """Return a uid in its canonical form; empty for none."""
    if uid == NO_UID:
        return ""
    digits = uid.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class JobSpec(MsgStruct, frozen=True, dict=True):
    """What a job has from its creation on; only UpdateJob changes some of it, those of SETTINGS in `updates`."""

    owner: str
    job_id: str
    kind: str
    fingerprint: bytes
    create_time: Micros = Micros(0)
    retry_policy: RetryPolicy = RetryPolicy()
    failure_policy: FailurePolicy = FailurePolicy.RUN_ALL
    stages: tuple[Stage, ...] = ()
    traceparent: str = ""
    """The trace in which it was created, for its workers; empty for none."""
    unique_key: str = ""
    """The key that no other unfinished job of its owner and kind has; empty for none."""
    unique_window: int | None = None
    """How long after its creation it has the key at least, in microseconds; None for until it ends."""
    run_timeout: int | None = None
    """How long a run may take, from its first claim to the end of the job, in microseconds; None for no limit."""
    attempt_timeout: int | None = None
    """How long an attempt at a chunk may take, in microseconds; None for no limit."""
    finalizer_work: int | None = None
    """The work of its finalizer, in millionths of an item; None for a job without one."""
    uid_bytes: bytes = NO_UID
    """The job's own identity, a UUID that no other job ever has: it tells it from others with the same key."""
    limited_labels: tuple[str, ...] = ()
    """The labels of whose values limits hold for it."""

    @property
    def uid(self) -> str:
        """The identity in its canonical form; empty for none."""
        return uid_text(self.uid_bytes)

    @cached_property  # a batch asks for it a dozen times a job, and as often for each chunk
    def key(self) -> str:
        """The ledger-wide key."""
        return job_key(self.owner, self.job_id)


class Job(MsgStruct, frozen=True):
    """One job; times in microseconds since 1970, None when they have not come."""

    spec: JobSpec
    progress: JobProgress
    counts: Counts
    update_time: Micros
    display_name: str = ""
    priority: int = DEFAULT_PRIORITY
    labels: Mapping[str, str] = NO_LABELS
    state: JobState = JobState.QUEUED
    revision: int = 0
    retry_count: int = 0
    stage_timings: tuple[StageTiming, ...] = ()
    artifacts: Artifacts = NO_ARTIFACTS
    artifacts_revision: int | None = None
    """The revision that last changed the artifacts; None when there are none."""
    declared_result: str = ""
    output_bytes: int | None = None
    """The bytes of the output that was declared last, encoded; None when there is none."""
    first_failure: WorkError | None = None
    cancel_reason: str = ""
    deadline: int | None = None
    """When the service ends the job: at the end of its run_timeout, or in CANCELLING of its grace period."""
    start_time: Micros | None = None
    end_time: Micros | None = None
    expire_time: Micros | None = None
    expires_by_rule: bool = False
    """Whether expire_time comes from the operator's retention rather than from a caller."""
    retry_time: Micros | None = None
    """When RetryJob last started another run."""
    slots: tuple[str, ...] = ()
    """The concurrency limits of which the job holds a slot."""
    parked_for: str = ""
    """The concurrency limit that the job waits for before workers may claim its chunks; empty for none."""
    schedule_time: Micros | None = None
    """When a caller wanted the first run to begin at the earliest."""
    held_until: Micros | None = None
    """The schedule_time until it comes; None once its hold is lifted."""
    kept_attempts: int = 0
    """How many earlier attempts at its chunks are kept."""
    etag_revision: int = 0
    """The last revision by a caller's change or with another state; 0 for a job of 0.1.0 until it changes."""
    etag_time: Micros = Micros(0)
    """The update_time of that revision."""
    artifact_bytes: int = 0
    """The bytes of what its artifacts and those of its chunks point at; it stops at MAX_SUM."""

    @property
    def key(self) -> str:
        """The ledger-wide key."""
        return self.spec.key

    @property
    def queue(self) -> tuple[str, str]:
        """The queue in which its chunks wait for workers: the owner and the kind."""
        return self.spec.owner, self.spec.kind

    @property
    def queues(self) -> list[tuple[str, str]]:
        """The queues from which its chunks are claimed: that of its kind, and its own."""
        return [self.queue, (self.key, "")]

    @property
    def queued_time(self) -> Micros:
        """When the job last started to wait: at its creation, or at its retry."""
        return self.spec.create_time if self.retry_time is None else self.retry_time

    @property
    def ended(self) -> bool:
        """Whether the state is terminal."""
        return self.state in ENDED

    def has_timed_out(self, now: Micros) -> bool:
        """Whether the run has reached its run_timeout; workers' reports are lost then."""
        return self.state is JobState.RUNNING and self.deadline is not None and now >= self.deadline

    @property
    def result_uri(self) -> str:
        """The address of the result; empty unless COMPLETED."""
        return self.declared_result if self.state is JobState.COMPLETED else ""

    @property
    def error(self) -> WorkError | None:
        """The reason of the failure; None unless FAILED."""
        return self.first_failure if self.state is JobState.FAILED else None

    @property
    def etag(self) -> str:
        """The tag of the last revision by a caller's change or with another state; progress leaves it as it is.

        The revision's time tells it from one that the database lost. A job created again under the same id has other
        etags.
        """
        random = self.spec.uid_bytes[8:].hex()  # that of a UUIDv7: the tag is stored with each change
        if not self.etag_revision:
            return f"{random}-{self.revision:x}-{self.update_time:x}"
        return f"{random}-{self.etag_revision:x}-{self.etag_time:x}"

    @property
    def in_queue(self) -> tuple[int, int]:
        """What its waiting chunks have from it: the priority, and the bits of its holds."""
        return self.priority, self.held

    @property
    def held(self) -> int:
        """The bits of the holds on all its waiting chunks."""
        if self.held_until is None and not self.parked_for:
            return 0
        scheduled = 0 if self.held_until is None else HoldReason.SCHEDULE.value
        return scheduled | (HoldReason.LIMIT.value if self.parked_for else 0)

    @property
    def claimable(self) -> int:
        """1 while workers may claim one of its chunks, unless its kind is paused, else 0."""
        counts = self.counts
        return int(not self.held and counts.pending > counts.delayed + self.finalizer_waits)

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Why none of its chunks may be claimed yet."""
        scheduled = () if self.held_until is None else (Hold(HoldReason.SCHEDULE, end_time=self.held_until),)
        return (*scheduled, Hold(HoldReason.LIMIT, scope_of_key(self.parked_for))) if self.parked_for else scheduled

    @property
    def finalizer_waits(self) -> bool:
        """Whether its finalizer is PENDING, and other chunks are not COMPLETED.

        It is never PENDING beside a CANCELLED chunk: it is cancelled with them, and returns when no other is left so.
        """
        counts = self.counts
        is_pending = self.spec.finalizer_work is not None and counts.pending > 0 and not counts.cancelled
        return is_pending and counts.completed < counts.total - 1

    @property
    def finalizer_is_next(self) -> bool:
        """Whether its finalizer is the only chunk that is not COMPLETED, and is PENDING."""
        counts = self.counts
        return self.spec.finalizer_work is not None and counts.pending == 1 and counts.completed == counts.total - 1

    def with_holds(self, chunk: Chunk) -> Chunk:
        """Return one of its chunks with the holds that are on it now."""
        held = 0
        if chunk.state is ChunkState.PENDING:
            waits = chunk.finalizer and self.finalizer_waits
            held = self.held | chunk.own_held | (HoldReason.FINALIZER if waits else 0)
        return chunk if held == chunk.held else replace(chunk, held=held)

    def held_chunks(self) -> tuple[int, int, int, int]:
        """Return the number of its chunks with each hold, in the order of HoldReason."""
        pending = self.counts.pending
        parked, scheduled = pending if self.parked_for else 0, 0 if self.held_until is None else pending
        return parked, scheduled, self.counts.delayed, int(self.finalizer_waits)

    def to(self, state: JobState, now: Micros) -> Self:
        """Return the job in another state, with the times and the percent of that state."""
        check_job_transition(self.state, state)
        ended = state in ENDED
        deadline, start_time = None if ended else self.deadline, self.start_time
        progress = replace(self.progress, rate=None)
        if state is JobState.RUNNING:
            deadline = None if self.spec.run_timeout is None else now + self.spec.run_timeout
            start_time, progress = now, replace(progress, rate=Rate(since=now, at=now))
        if state is JobState.COMPLETED:
            progress = replace(progress, percent=100.0)
        return replace(
            self,
            state=state,
            start_time=start_time,
            end_time=now if ended else None,
            held_until=None,
            deadline=deadline,
            progress=progress,
        )

    def with_artifact_bytes(self, old: Artifacts, new: Artifacts) -> Self:
        """Return the job after its artifacts, or those of a chunk, changed from `old` to `new`."""
        total = self.artifact_bytes + stored_bytes(new) - stored_bytes(old)
        return replace(self, artifact_bytes=max(0, min(total, MAX_SUM)))

    def with_chunk(self, old: Chunk, new: Chunk, now: Micros, *, reported: bool = False) -> Self:
        """Return the job after one of its chunks changed from `old` to `new`: O(1), whatever the number of chunks.

        With `reported` it has the stage and the message of this chunk, which reported last.
        """
        progress = self.progress.reported(new.progress) if reported else self.progress
        progress = progress.plus(new.work_done - old.work_done, new.items_done - old.items_done, now)
        job = replace(self, counts=self.counts.moved(old, new), progress=progress)
        return job.with_stage(old, new, now)

    def with_attempt(self, chunk: Chunk) -> Self:
        """Return the job after the attempt that left this chunk was kept, and the oldest one was dropped for it."""
        if not has_ended_attempt(chunk):
            return self
        drops_oldest = chunk.attempt_number > max_kept_attempts(self.counts.total)
        return self if drops_oldest else replace(self, kept_attempts=self.kept_attempts + 1)

    def with_stage(self, old: Chunk, new: Chunk, now: Micros) -> Self:
        """Return the job after one of its chunks changed from the stage of `old` to that of `new`, if they differ."""
        if (old.progress.stage, old.stage_time) == (new.progress.stage, new.stage_time):
            return self
        timings = self.stage_timings
        if old.stage_time is not None:
            leave_time = now if new.stage_time is None else new.stage_time
            timings = _timed(timings, old.progress.stage, leave_time - old.stage_time, leave_time)
        if new.stage_time is not None:
            timings = _entered(timings, new.progress.stage, new.stage_time)
        return replace(self, stage_timings=timings)

    def swept(self, sweep: Sweep, totals: Totals) -> Self:
        """Return the job after a sweep of chunks; `totals` are the sums of those that were PROCESSING."""
        now, timings = sweep.time, self.stage_timings
        progress = self.progress.plus(-totals.work_done, -totals.items_done, now)
        for stage, duration in totals.stage_times.items():
            timings = _timed(timings, stage, duration, now)
        counts = self.counts.swept(sweep.moved, sweep.to)
        return replace(self, counts=counts, progress=progress, stage_timings=timings)


def _entered(timings: tuple[StageTiming, ...], stage: str, now: Micros) -> tuple[StageTiming, ...]:
    if len(timings) >= MAX_TIMED_STAGES or any(t.stage == stage for t in timings):
        return timings
    return (*timings, StageTiming(stage, 0, now))


def _timed(timings: tuple[StageTiming, ...], stage: str, duration: int, leave_time: int) -> tuple[StageTiming, ...]:
    return tuple(t.with_more(duration, leave_time) if t.stage == stage else t for t in timings)
