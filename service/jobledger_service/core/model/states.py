"""The two state machines, as data."""

from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "QUEUED"
    """Waits for the first claim of one of its chunks."""
    RUNNING = "RUNNING"
    """A worker has claimed a chunk in this run."""
    CANCELLING = "CANCELLING"
    """Must stop, and waits for its workers to release their chunks, or to complete the last ones."""
    COMPLETED = "COMPLETED"
    """All chunks are completed. Final."""
    FAILED = "FAILED"
    """A chunk has failed for good. Only a retry leaves this state."""
    CANCELLED = "CANCELLED"
    """Was stopped. Only a retry leaves this state."""


class ChunkState(StrEnum):
    """The state of a chunk."""

    PENDING = "PENDING"
    """Waits for a worker, or for the time of its next attempt."""
    PROCESSING = "PROCESSING"
    """A worker holds it under a lease."""
    COMPLETED = "COMPLETED"
    """Completed. Final."""
    FAILED = "FAILED"
    """Failed for good in this run."""
    CANCELLED = "CANCELLED"
    """Stopped with its job."""


ENDED: Final = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
RETRYABLE: Final = frozenset({ChunkState.FAILED, ChunkState.CANCELLED})
WAITING: Final = frozenset({ChunkState.PENDING})
UNFINISHED: Final = frozenset({ChunkState.PENDING, ChunkState.PROCESSING})

JOB_TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.COMPLETED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

CHUNK_TRANSITIONS: Final[dict[ChunkState, frozenset[ChunkState]]] = {
    ChunkState.PENDING: frozenset({ChunkState.PROCESSING, ChunkState.CANCELLED}),
    ChunkState.PROCESSING: frozenset(
        {ChunkState.PENDING, ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED}
    ),
    ChunkState.COMPLETED: frozenset(),
    ChunkState.FAILED: frozenset({ChunkState.PENDING}),
    ChunkState.CANCELLED: frozenset({ChunkState.PENDING}),
}


class IllegalTransitionError(AssertionError):
    """A transition that the tables do not have: a defect of the model, never a caller's fault."""


def check_job_transition(old: JobState, new: JobState) -> None:
    """Raise IllegalTransitionError unless a job may change from `old` to `new`."""
    if new not in JOB_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a job cannot go from {old} to {new}")


def check_chunk_transition(old: ChunkState, new: ChunkState) -> None:
    """Raise IllegalTransitionError unless a chunk may change from `old` to `new`."""
    if new not in CHUNK_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a chunk cannot go from {old} to {new}")


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "PENDING"
    """Waits for its time, for an earlier delivery of its job, or for its webhook to be resumed."""
    DELIVERED = "DELIVERED"
    """The endpoint answered with 2xx."""
    DEAD = "DEAD"
    """Is not attempted again, unless a caller asks for it."""


class WebhookState(StrEnum):
    """The state of a webhook."""

    ACTIVE = "ACTIVE"
    """Records events and delivers them."""
    DISABLED = "DISABLED"
    """Records nothing and delivers nothing."""
    PAUSED = "PAUSED"
    """Records events and delivers none."""
