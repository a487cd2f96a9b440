"""The enums of the contract. Their members are equal to the numbers in messages: `job.state == JobState.RUNNING`."""

from enum import IntEnum
from typing import TYPE_CHECKING, Self


class ContractEnum(IntEnum):  # noqa: PLW1641 - hash and comparison are those of int
    """An enum of the contract, without prefixes; `JobState(job.state).name` is a name for people."""

    if TYPE_CHECKING:  # else mypy refuses to compare it with a field of a message, whose type is another

        def __eq__(self, other: object) -> bool: ...

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return a member for a number that this version does not know, such as a state of a newer server."""
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = f"UNKNOWN_{value}" if value else "UNSPECIFIED", value
        return unknown


class JobState(ContractEnum):
    """The states of a job."""

    QUEUED = 1
    RUNNING = 2
    CANCELLING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6


class JobView(ContractEnum):
    """How much of a job a call returns."""

    BASIC = 1
    FULL = 2
    STATUS = 3
    DETAIL = 4


class FailurePolicy(ContractEnum):
    """What a failed chunk means for its job."""

    RUN_ALL = 1
    FAIL_FAST = 2


class OnConflict(ContractEnum):
    """What becomes of a new job whose unique key an unfinished job has."""

    RETURN = 1
    REFUSE = 2


class LabelOperator(ContractEnum):
    """What a condition on a label asks of its value."""

    EQ = 1
    IN = 2
    EXISTS = 3


class ChunkState(ContractEnum):
    """The states of a chunk."""

    PENDING = 1
    PROCESSING = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5


class AttemptOutcome(ContractEnum):
    """How an attempt at a chunk ended; UNSPECIFIED while it lasts."""

    COMPLETED = 1
    FAILED = 2
    EXPIRED = 3
    RELEASED = 4
    TIMED_OUT = 5
    CANCELLED = 6


class HoldReason(ContractEnum):
    """Why a waiting chunk may not be claimed yet."""

    LIMIT = 1
    SCHEDULE = 2
    BACKOFF = 3
    FINALIZER = 4
    PAUSED = 5


class ChangeType(ContractEnum):
    """What happened to a job or a chunk, in events and watches."""

    CREATED = 1
    CLAIMED = 2
    PROGRESSED = 3
    CHUNK_COMPLETED = 4
    CHUNK_FAILED = 5
    CHUNK_RELEASED = 6
    LEASE_EXPIRED = 7
    CANCEL_REQUESTED = 8
    RETRIED = 9
    UPDATED = 10
    DELETED = 11
    SLOT_GRANTED = 12
    IMPORTED = 13
    ATTEMPT_TIMED_OUT = 14
    RUN_TIMED_OUT = 15
    SCHEDULE_REACHED = 16


class JobOrder(ContractEnum):
    """The orders of a list of jobs."""

    CREATE_TIME = 1
    UPDATE_TIME = 2
    END_TIME = 3
    PRIORITY = 4


class WatchMode(ContractEnum):
    """Whether a slow watcher gets the LATEST revisions, or EVERY one."""

    LATEST = 1
    EVERY = 2


class WatchMessageType(ContractEnum):
    """What a message of a watch means."""

    SNAPSHOT = 1
    CHANGED = 2
    LEFT = 3
    DELETED = 4
    BOOKMARK = 5


class CancelOutcome(ContractEnum):
    """What CancelJob did."""

    CANCELLED = 1
    REQUESTED = 2
    ALREADY_ENDED = 3


class LeaseStatus(ContractEnum):
    """Whether a lease still holds."""

    OK = 1
    CANCEL_REQUESTED = 2
    LEASE_LOST = 3


class StatsStep(ContractEnum):
    """The steps of a series."""

    HOUR = 1
    DAY = 2


class ExportFormat(ContractEnum):
    """The formats of an export."""

    CSV = 1
    JSON_LINES = 2


class WebhookEventType(ContractEnum):
    """The events that a webhook delivers."""

    JOB_CREATED = 1
    JOB_STARTED = 2
    JOB_PROGRESS = 3
    JOB_COMPLETED = 4
    JOB_FAILED = 5
    JOB_CANCELLED = 6
    JOB_RETRIED = 7
    JOB_DELETED = 8


class WebhookState(ContractEnum):
    """The states of a webhook."""

    ACTIVE = 1
    DISABLED = 2
    PAUSED = 3


class WebhookDeliveryState(ContractEnum):
    """The states of a webhook's delivery."""

    PENDING = 1
    DELIVERED = 2
    DEAD = 3


class Role(ContractEnum):
    """What an API key may do."""

    CALLER = 1
    WORKER = 2
    ADMIN = 3


class UsageDimension(ContractEnum):
    """What calls are summed by."""

    DAY = 1
    OWNER = 2
    KEY = 3
    METHOD = 4


class SystemStatus(ContractEnum):
    """Whether the server is healthy."""

    HEALTHY = 1
    DEGRADED = 2
    UNHEALTHY = 3


TERMINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
