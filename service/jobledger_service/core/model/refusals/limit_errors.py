"""Refusals of what is too many or too long.

Refusal
├── LimitReached          as much as the operator allows
│   ├── QuotaExceeded     the owner would have more than its quota allows
│   └── TooManyReads      too many reads of an owner wait
├── TooManyWebhooks       the owner has as many as one may have
├── TooManyPausedKinds    the same
├── LimitCeiling          an operator set the limit's ceiling, which the owner's admin cannot pass or remove
├── ReadTooLong           the read was not done within its time
└── QueueFull             too much of the owner waits
"""

from jobledger_service.core.model.bounds.limits import SECOND

from .errors import Refusal

_QUOTAS = {
    "max_unfinished_jobs": ("unfinished jobs", "retry when some have ended", SECOND),
    "max_stored_jobs": ("stored jobs", "delete some", None),
    "max_artifact_bytes": ("bytes of artifacts", "delete some jobs", None),
    "max_watches": ("open watches at this server", "close one first", SECOND),
}
"""What each quota bounds, how room is made, and in how many microseconds a retry may succeed, None for never.

A bound of 0 leaves no room at any time."""

_BOUNDS = {
    "age": "this owner's oldest write has been waiting for too long",
    "share": "this owner has more writes waiting than can be carried out in time",
    "commands": "too many of this owner's writes are waiting",
    "rows": "this owner's waiting writes change too many rows",
}
QUEUE_BOUNDS = tuple(_BOUNDS)
"""What may be reached when a command is refused as QueueFull."""


class LimitReached(Refusal):
    """A limit is reached; `subject` is whose limit it is, `wait` microseconds until a retry may succeed."""

    def __init__(self, message: str, subject: str, wait: int | None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.subject = subject
        self.wait = wait


class QuotaExceeded(LimitReached):
    """An owner has `value` of what its quota bounds by `limit`; `quota` is the bound's name."""

    def __init__(self, owner: str, quota: str, value: int, limit: int) -> None:
        subject, (what, remedy, wait) = f"owner:{owner}", _QUOTAS[quota]
        super().__init__(
            f"owner {owner!r} has {value} of the {limit} {what} that its quota {quota} allows: {remedy};"
            " GetQuota shows bounds and use",
            subject,
            wait if limit else None,
            owner=owner,
            quota=quota,
            value=str(value),
            limit=str(limit),
        )
        self.quota = quota
        self.limit = limit


class TooManyReads(LimitReached):
    """An owner has the maximum number of waiting reads."""

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"the owner:{owner} has reached its limit of {limit} waiting reads: retry later",
            f"owner:{owner}",
            SECOND,
            limit=str(limit),
        )


class TooManyWebhooks(Refusal):
    """The owner has the maximum number of webhooks."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the owner has reached its limit of {limit} webhooks: delete one", limit=str(limit))


class TooManyPausedKinds(Refusal):
    """The owner has the maximum number of paused kinds."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the owner has reached its limit of {limit} paused kinds: resume one", limit=str(limit))


class LimitCeiling(Refusal):
    """An operator set the ceiling of a limit, which the owner's admin cannot pass or remove."""

    def __init__(self, scope: str, ceiling: int) -> None:
        super().__init__(
            f"an operator set the limit of {scope} to {ceiling}: set at most that number, or ask for a higher one",
            scope=scope,
            ceiling=str(ceiling),
        )


class ReadTooLong(Refusal):
    """The database did not finish a read within its time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the read did not finish within {seconds:g} s: narrow the filter or request smaller pages",
            seconds=f"{seconds:g}",
        )


class QueueFull(Refusal):
    """An owner has the maximum of waiting work; `wait` is microseconds until a retry may succeed."""

    def __init__(self, bound: str, wait: int) -> None:
        super().__init__(f"{_BOUNDS[bound]}: retry after retry_delay", bound=bound)
        self.bound = bound
        self.wait = wait
