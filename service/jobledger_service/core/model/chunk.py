"""A chunk: a slice of a job's items that one worker processes at a time."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct as MsgStruct

from .bounds.limits import DEFAULT_LEASE
from .holds import HoldReason, reasons_of
from .micros import Micros
from .states import ChunkState

WHOLE: Final = 1_000_000
"""Units of a chunk: fractions are counted in millionths, so that their sums are exact."""


ChunkKey = tuple[str, int]
"""The key of its job, and its index."""
Queue = tuple[str, str]
"""Where chunks wait for workers: an owner and a kind; or a job's key and NO_KIND, for those of one job alone."""
NO_KIND: Final = ""

TIMED_OUT: Final = "TIMED_OUT"
"""The code of an attempt, or of a job, that took too long."""


class Artifact(MsgStruct, frozen=True):
    """A named output or preview: where it is, never what it contains; `metadata` is an encoded Struct."""

    uri: str
    content_type: str = ""
    size_bytes: int | None = None
    metadata: bytes | None = None
    create_time: Micros = Micros(0)


Artifacts = Mapping[str, Artifact]
NO_ARTIFACTS: Final[Artifacts] = MappingProxyType({})


def stored_bytes(artifacts: Artifacts) -> int:
    """Return the bytes of what artifacts point at; one of unknown size counts as 0."""
    return sum(artifact.size_bytes or 0 for artifact in artifacts.values())


class WorkError(MsgStruct, frozen=True, array_like=True):
    """Why an attempt failed."""

    code: str
    message: str = ""
    stage: str = ""
    chunk_index: int | None = None


class AttemptOutcome(StrEnum):
    """How an attempt ended; it also tells a repeated report on its lease from a stale one."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """Its worker reported a failure."""
    EXPIRED = "EXPIRED"
    """Its worker did not extend the lease in time."""
    RELEASED = "RELEASED"
    TIMED_OUT = "TIMED_OUT"
    """It took longer than the attempt_timeout of its job."""
    CANCELLED = "CANCELLED"
    """The job was stopped, took too long, or another chunk failed it."""


class ChunkProgress(MsgStruct, frozen=True):
    """The progress of one attempt; `done` in millionths of the chunk, percent in 0 to 100."""

    done: int = 0
    stage: str = ""
    stage_percent: float | None = None
    message: str = ""
    items_completed: int = 0

    @property
    def percent(self) -> float:
        """How much is done."""
        return self.done * 100 / WHOLE


NO_PROGRESS: Final = ChunkProgress()


class Chunk(MsgStruct, frozen=True):
    """One chunk; times in microseconds since 1970, None when they have not come."""

    job_key: str
    index: int
    create_time: Micros
    max_attempts: int
    first_item: int | None = None
    last_item: int | None = None
    state: ChunkState = ChunkState.PENDING
    attempt: int = 0
    fence: int = 0
    attempt_number: int = 0
    """The number of the latest attempt; released ones count, and so it is `attempt` or more."""
    outcome: AttemptOutcome | None = None
    """How the latest attempt ended; None before the first, while it lasts, and when no worker learned of its claim."""
    attempt_end_time: Micros | None = None
    task_id: str = ""
    worker: str = ""
    progress: ChunkProgress = NO_PROGRESS
    stage_time: Micros | None = None
    artifacts: Artifacts = NO_ARTIFACTS
    artifacts_revision: int | None = None
    """The revision of the job that last changed the artifacts; None when there are none."""
    error: WorkError | None = None
    start_time: Micros | None = None
    end_time: Micros | None = None
    lease_expire_time: Micros | None = None
    next_attempt_time: Micros | None = None
    held: int = 0
    """The bits of its holds and of its job's, as of the last commit; 0 unless PENDING."""
    lease_duration: int = DEFAULT_LEASE
    """How long the latest lease lasts from each heartbeat on, in microseconds."""
    finalizer_work: int | None = None
    """The work of the finalizer, in millionths of an item; None for any other chunk."""
    attempt_timeout: int | None = None
    """How long its latest attempt may take, as it was claimed, in microseconds; 0 for no limit.

    None for an attempt that a server of 0.1.0 claimed: its job's.
    """
    checkpoint: bytes | None = None
    """What an attempt keeps for the next one, as an encoded Struct; None when there is none."""

    @property
    def finalizer(self) -> bool:
        """Whether it is the last chunk, for which all others must be completed."""
        return self.finalizer_work is not None

    @property
    def own_held(self) -> int:
        """The bits of the holds on this chunk alone."""
        return 0 if self.next_attempt_time is None else HoldReason.BACKOFF.value

    @property
    def lease_check_time(self) -> int | None:
        """The time from which the duty checks the lease: never after its end, and the same for many ends.

        An index orders leases by it, which most heartbeats of a worker that reports progress then leave as it is.
        """
        if self.lease_expire_time is None:
            return None
        # between an eighth and a quarter of the lease, at most 17 s
        step = 1 << min(max(self.lease_duration.bit_length() - 3, 0), 24)
        return self.lease_expire_time & -step

    @property
    def holds(self) -> tuple[HoldReason, ...]:
        """Why it may not be claimed yet."""
        return reasons_of(self.held) if self.held else ()

    @property
    def items(self) -> int:
        """The number of items in the chunk; 0 for a chunk of a job without items."""
        if self.first_item is None or self.last_item is None:
            return 0
        return self.last_item - self.first_item + 1

    @property
    def work(self) -> int:
        """The weight of the chunk in its job's percent, in millionths of an item."""
        return WHOLE * (self.items or 1) if self.finalizer_work is None else self.finalizer_work

    @property
    def work_done(self) -> int:
        """The chunk's part of its job's work, in millionths of an item."""
        match self.state:
            case ChunkState.COMPLETED:
                return self.work
            case ChunkState.PROCESSING:
                return self.progress.done * self.work // WHOLE
            case _:
                return 0

    @property
    def items_done(self) -> int:
        """The chunk's part of its job's completed items."""
        match self.state:
            case ChunkState.COMPLETED:
                return self.items
            case ChunkState.PROCESSING:
                return self.progress.items_completed
            case _:
                return 0
