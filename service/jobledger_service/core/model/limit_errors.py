"""Refusals of what is too many, too large or too long.

Refusal
├── LimitReached          as much as the operator allows
│   ├── RateLimited       too many calls with one key
│   ├── TooManyWatches    too many open watches of a key or an owner
│   ├── TooManyQueuedJobs too many jobs of an owner wait
│   ├── TooManyReads      too many reads of an owner wait
│   └── MessageTooLarge   the request has too many bytes
├── TooManyWebhooks       the owner has as many as one may have
├── ReadTooLong           the read was not done within its time
└── QueueFull             too much of the owner waits
"""

from typing import Self

from .errors import Refusal
from .limits import SECOND


class LimitReached(Refusal):
    """A limit is reached; `subject` is whose limit it is, `wait` microseconds until a retry may succeed."""

    def __init__(self, message: str, subject: str, wait: int | None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.subject = subject
        self.wait = wait


class RateLimited(LimitReached):
    """Too many calls of one kind with one key."""

    def __init__(self, key_id: str, kind: str, rate: str, wait: int) -> None:
        super().__init__(
            f"rate limit of {rate} {kind} calls for one key exceeded: retry in {wait / SECOND:.2f} s",
            _key(key_id),
            wait,
            kind=kind,
            limit=rate,
        )


class TooManyWatches(LimitReached):
    """One key, or one owner, has the maximum number of open watches."""

    def __init__(self, subject: str, limit: int) -> None:
        super().__init__(
            f"the {subject} has reached its limit of {limit} open watches: close one first",
            subject,
            SECOND,
            limit=str(limit),
        )

    @classmethod
    def of_key(cls, key_id: str, limit: int) -> Self:
        """Return the refusal of a watch for its key's limit."""
        return cls(_key(key_id), limit)

    @classmethod
    def of_owner(cls, owner: str, limit: int) -> Self:
        """Return the refusal of a watch for its owner's limit."""
        return cls(_owner(owner), limit)


class TooManyQueuedJobs(LimitReached):
    """An owner has the maximum number of QUEUED jobs."""

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"the {_owner(owner)} has reached its limit of {limit} QUEUED jobs: retry when some have started",
            _owner(owner),
            SECOND,
            limit=str(limit),
        )


class TooManyReads(LimitReached):
    """An owner has the maximum number of waiting reads."""

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"the {_owner(owner)} has reached its limit of {limit} waiting reads: retry later",
            _owner(owner),
            SECOND,
            limit=str(limit),
        )


class MessageTooLarge(LimitReached):
    """The request is larger than the operator allows."""

    def __init__(self, key_id: str, size: int, limit: int) -> None:
        super().__init__(
            f"the request has {size} bytes, more than the limit of {limit}",
            _key(key_id),
            None,
            size=str(size),
            limit=str(limit),
        )


def _key(key_id: str) -> str:
    return f"key:{key_id}"


def _owner(owner: str) -> str:
    return f"owner:{owner}"


class TooManyWebhooks(Refusal):
    """The owner has the maximum number of webhooks."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the owner has reached its limit of {limit} webhooks: delete one", limit=str(limit))


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


_BOUNDS = {
    "age": "this owner's oldest write has been waiting for too long",
    "share": "this owner has more writes waiting than can be carried out in time",
    "commands": "too many of this owner's writes are waiting",
    "rows": "this owner's waiting writes change too many rows",
    "bytes": "this owner's requests in flight have too many bytes",
    "calls": "too many calls of this owner are in flight",
}
QUEUE_BOUNDS = tuple(_BOUNDS)
"""The bounds that a call refused with QueueFull may have reached."""
