"""What happened to a job, and its new state: the outcome of every decision."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import Artifacts, Chunk, WorkError
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.sweep import Sweep, SweptChunks

SERVICE_ACTOR: Final = "jobledger"
"""The actor of what the service does by itself."""


class ChangeType(StrEnum):
    """The type of a change."""

    CREATED = "CREATED"
    CLAIMED = "CLAIMED"
    PROGRESSED = "PROGRESSED"
    CHUNK_COMPLETED = "CHUNK_COMPLETED"
    CHUNK_FAILED = "CHUNK_FAILED"
    CHUNK_RELEASED = "CHUNK_RELEASED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    RETRIED = "RETRIED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    SLOT_GRANTED = "SLOT_GRANTED"
    IMPORTED = "IMPORTED"
    SCHEDULE_REACHED = "SCHEDULE_REACHED"
    ATTEMPT_TIMED_OUT = "ATTEMPT_TIMED_OUT"
    RUN_TIMED_OUT = "RUN_TIMED_OUT"


BY_CALLERS: Final = frozenset({ChangeType.CANCEL_REQUESTED, ChangeType.RETRIED, ChangeType.UPDATED})
"""Changes that callers make to a job that exists."""
CHANGE_BITS: Final = {change: 1 << place for place, change in enumerate(ChangeType)}
"""What the store keeps of the types of an event's changes: the bits stay, new types come last."""


class Change(MsgStruct, frozen=True):
    """One change of a job; states are None before CREATED and after DELETED."""

    type: ChangeType
    actor: str
    from_state: JobState | None
    to_state: JobState | None
    chunk_index: int | None = None
    reason: str = ""
    attempt: int | None = None
    """The number of the attempt at that chunk; None when it is about none."""
    task_id: str = ""
    chunk_count: int = 0
    """How many chunks a retry lets wait again."""
    chunk_runs: Sequence[tuple[int, int]] = ()
    """The first and last indexes of the runs of those that were named, up to a number."""

    @property
    def changes_etag(self) -> bool:
        """Whether a caller may have decided otherwise had it been known: a caller's change, or another state."""
        return self.type in BY_CALLERS or self.from_state is not self.to_state


class Step(MsgStruct, frozen=True):
    """The job and the chunks after one decision, and then a sweep of other chunks.

    A step without a change (a lease that was extended) has no revision.
    """

    job: Job
    chunks: tuple[Chunk, ...] = ()
    change: Change | None = None
    sweep: Sweep | None = None
    more_attempts: int = 0
    """By how much the maximum of attempts rises, or falls, of all chunks of the job that are not ended."""


class JobDelta(MsgStruct):
    """All that one batch does to one job, as its commands add to it; `before` is None for a job that it creates."""

    before: Job | None
    job: Job
    """The job as the batch leaves it, also when it is deleted."""
    changes: list[Change] = []
    chunks: dict[int, Chunk] = {}
    """The changed chunks that are known one by one."""
    earlier: dict[int, Chunk] = {}
    """Those as they were before; those of a new job only when the batch changes them again."""
    swept: SweptChunks | None = None
    """The chunks that one statement changes."""
    more_attempts: int = 0
    """By how much another statement changes the maximum of attempts of those that are not ended."""
    attempts: list[Chunk] = []
    """Chunks as attempts left them that were followed by others."""
    failures: list[WorkError] = []
    """Why runs ended FAILED, each at its time: RetryJob may begin another run in the same batch."""
    inputs: Inputs = Inputs()
    """Those of a new job."""
    deleted: bool = False
    size: int = 0
    """The approximate bytes of its event, except the job itself."""

    @property
    def earlier_artifacts(self) -> dict[int, Artifacts]:
        """The earlier artifacts of the chunks whose artifacts changed, by index."""
        chunks, earlier = self.chunks, self.earlier
        return {n: chunk.artifacts for n, chunk in earlier.items() if chunk.artifacts is not chunks[n].artifacts}

    @property
    def is_progress(self) -> bool:
        """Whether nothing changed but progress: no state, no hold and no artifacts."""
        before, job = self.before, self.job
        return (
            before is not None
            and (before.state, before.held, before.counts, before.artifacts)
            == (job.state, job.held, job.counts, job.artifacts)
            and all(change.type is ChangeType.PROGRESSED for change in self.changes)
            and not self.earlier_artifacts
        )
