"""What happened to a job, and its new state: the outcome of every decision."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import Artifacts, Chunk, WorkError
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.sweep import Sweep

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


class Step(MsgStruct, frozen=True):
    """The job and the chunks after one decision, and then a sweep of other chunks.

    A step without a change (a lease that was extended) has no revision.
    """

    job: Job
    chunks: tuple[Chunk, ...] = ()
    change: Change | None = None
    sweep: Sweep | None = None


class JobDelta(MsgStruct, frozen=True):
    """A batch's changes of one job: `before` is None for a created job; `job` is the last state, also if deleted.

    `artifacts` are the earlier ones of the chunks whose artifacts changed, `attempts` the chunks as attempts left them
    that were followed by others, and `failures` the errors of the runs that ended FAILED.
    """

    before: Job | None
    job: Job
    deleted: bool
    changes: Sequence[Change]
    chunks: Mapping[int, Chunk]
    artifacts: Mapping[int, Artifacts]
    attempts: Sequence[Chunk] = ()
    failures: Sequence[WorkError] = ()
