"""The two state machines, as data."""

from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    """Waits for the first of its chunks to be claimed."""
    RUNNING = "RUNNING"
    """Has had a chunk claimed in this run."""
    CANCELLING = "CANCELLING"
    """Was asked to stop and waits for its workers to let go."""
    COMPLETED = "COMPLETED"
    """Has every chunk completed. Final."""
    FAILED = "FAILED"
    """Has a chunk that failed for good. Left only by a retry."""
    CANCELLED = "CANCELLED"
    """Was stopped. Left only by a retry."""


class ChunkState(StrEnum):
    """Where a chunk stands."""

    PENDING = "PENDING"
    """Waits for a worker, or for its next attempt to be due."""
    PROCESSING = "PROCESSING"
    """Held by a worker under a lease."""
    COMPLETED = "COMPLETED"
    """Done. Final."""
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
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
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
    """A transition that the tables do not have: a defect of the domain, never a caller's fault."""


def check_job_transition(old: JobState, new: JobState) -> None:
    """Raise IllegalTransitionError unless a job may go from `old` to `new`."""
    if new not in JOB_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a job cannot go from {old} to {new}")


def check_chunk_transition(old: ChunkState, new: ChunkState) -> None:
    """Raise IllegalTransitionError unless a chunk may go from `old` to `new`."""
    if new not in CHUNK_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a chunk cannot go from {old} to {new}")


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    """Waits: for its time, for an earlier delivery of its job, or for the webhook to be resumed."""
    DELIVERED = "DELIVERED"
    """Was answered with 2xx."""
    DEAD = "DEAD"
    """Is not tried again, unless it is asked for."""


class WebhookState(StrEnum):
    """Whether a webhook gets deliveries."""

    ACTIVE = "ACTIVE"
    """Records events and delivers them."""
    DISABLED = "DISABLED"
    """Records nothing and delivers nothing."""
    PAUSED = "PAUSED"
    """Records events and delivers none."""
