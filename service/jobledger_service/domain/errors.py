"""What the ledger refuses, and why.

Refusal
├── InvalidField          a value breaks its rule
├── JobNotFound           no such job of this owner
├── JobUnreadable         what is stored of the job cannot be read
├── ChunkNotFound         no such chunk of this job
├── JobAlreadyExists      the job_id is in use with other content
├── RequestIdReused       the request_id came before with other content
├── EtagMismatch          decided on an older revision
├── JobNotEnded           the job must end first
├── JobEnded              the job has ended and cannot change in this way
├── NothingToRetry        no failed or cancelled chunk was named
├── ChunkNotClaimable     the chunk is held, done or not yet due
├── HistoryTrimmed        the cursor is older than the history
├── ForeignCursor         the cursor is of another database, or from before a restore
├── CursorAhead           the cursor is past the end of the ledger
├── PageTokenInvalid      the page token is damaged or of another request
├── ApiKeyMissing         the call carries no API key
├── ApiKeyUnknown         the key is none of this service
├── ApiKeyExpired         the key's time has passed
├── ApiKeyRevoked         the key was revoked
├── RoleMissing           the key does not have the role that the call needs
├── ApiKeyNotFound        no such key to revoke or to rotate
├── ApiKeyEnded           the key was revoked or has expired, and cannot be rotated
├── AuthDisabled          the server runs without keys, and makes none
├── LimitReached          as much as the operator allows
│   ├── RateLimited       too many calls with one key
│   ├── TooManyWatches    too many open watches of a key or an owner
│   ├── TooManyQueuedJobs too many jobs of an owner wait
│   ├── TooManyReads      too many reads of an owner wait
│   └── MessageTooLarge   the request has too many bytes
├── WebhookNotFound       no such webhook of this owner
├── DeliveryNotFound      no such delivery of this webhook
├── TooManyWebhooks       the owner has as many as one may have
├── ServiceNotFound       no such service of this server
├── ReadTooLong           the read was not done within its time
├── QueueFull             too much of the owner waits
├── Draining              the server is shutting down
└── StoreUnavailable      the database cannot be reached
"""

import re
from typing import Self

from .limits import SECOND


class Refusal(Exception):  # noqa: N818  a refusal is an answer, not a fault
    """A request that the ledger does not carry out; nothing was written for it."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata

    @property
    def reason(self) -> str:
        """The reason's name, as callers know it: JobNotFound is JOB_NOT_FOUND."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).upper()


class InvalidField(Refusal):
    """One or more values break their rules: `violations` pairs each field's path with a sentence."""

    def __init__(self, *violations: tuple[str, str]) -> None:
        told = "; ".join(f"{field}: {rule}" for field, rule in violations[:3])
        more = len(violations) - 3
        super().__init__(f"{told}; and {more} more" if more > 0 else told)
        self.violations = violations


class JobNotFound(Refusal):
    """The job does not exist, or belongs to another owner."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}", job_id=job_id)


class JobUnreadable(Refusal):
    """What is stored of the job is damaged, or was written by something else."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"what is stored of job {job_id!r} cannot be read; the server's log says why", job_id=job_id)


class ChunkNotFound(Refusal):
    """The job has no chunk of this index."""

    def __init__(self, job_id: str, index: int, total: int) -> None:
        super().__init__(
            f"job {job_id!r} has no chunk {index}: its chunks are 0 to {total - 1}",
            job_id=job_id,
            chunk_index=str(index),
        )


class JobAlreadyExists(Refusal):
    """The job_id is in use by a job that was created with other content."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} exists and was created with other content", job_id=job_id)


class RequestIdReused(Refusal):
    """The request_id came before, with other content."""

    def __init__(self, request_id: str, used_for: str, what: str = "job") -> None:
        super().__init__(
            f"request_id {request_id!r} was used before with other content, for {what} {used_for!r}",
            request_id=request_id,
            **{f"{what}_id": used_for},
        )


class EtagMismatch(Refusal):
    """The caller decided on another revision than the one that is there."""

    def __init__(self, job_id: str, etag: str) -> None:
        super().__init__(f"job {job_id!r} has changed: its etag is now {etag!r}", job_id=job_id, etag=etag)


class JobNotEnded(Refusal):
    """The job must end before this can be done."""

    def __init__(self, job_id: str, state: str, remedy: str) -> None:
        super().__init__(f"job {job_id!r} is {state}, it has not ended: {remedy}", job_id=job_id, state=state)


class JobEnded(Refusal):
    """The job has ended, so that this can no longer be done."""

    def __init__(self, job_id: str, state: str, what: str) -> None:
        super().__init__(f"job {job_id!r} is {state}: {what}", job_id=job_id, state=state)


class NothingToRetry(Refusal):
    """No chunk that failed or was cancelled is named."""

    def __init__(self, job_id: str, detail: str) -> None:
        super().__init__(f"job {job_id!r}: {detail}", job_id=job_id)


class ChunkNotClaimable(Refusal):
    """The chunk is held by a worker, done, or not yet due."""

    def __init__(self, job_id: str, index: int, state: str, detail: str) -> None:
        super().__init__(
            f"chunk {index} of job {job_id!r} is {state}: {detail}", job_id=job_id, chunk_index=str(index), state=state
        )


class HistoryTrimmed(Refusal):
    """The cursor is older than the history that is kept; `oldest` is the oldest position to resume from."""

    def __init__(self, oldest: int, told: str = "") -> None:
        super().__init__(told or "the cursor is older than the history that is kept: list again and watch from there")
        self.oldest = oldest


class ForeignCursor(Refusal):
    """The cursor names another ledger, or an epoch of this one that a restore has ended."""

    def __init__(self) -> None:
        super().__init__("the cursor is of another database, or from before a restore: list again and watch from there")


class CursorAhead(Refusal):
    """The cursor is past the end of the ledger, as after a restore of an older backup."""

    def __init__(self, position: int, end: int) -> None:
        super().__init__(
            f"the cursor is at {position}, past the ledger's end at {end}: list again and watch from there"
        )


class PageTokenInvalid(Refusal):
    """The token is damaged, or belongs to another request; `field` is where it was given."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(f"{field} {detail}: begin again without it, or leave the request as it was")
        self.field = field


class ApiKeyMissing(Refusal):
    """The call carries no API key."""

    def __init__(self) -> None:
        super().__init__("an API key is needed: send the metadata `authorization: Bearer jl_…`")


class ApiKeyUnknown(Refusal):
    """The key is none of this service."""

    def __init__(self) -> None:
        super().__init__("the API key is none of this service: look for a cut or mistyped key, or another server's")


class ApiKeyExpired(Refusal):
    """The key's time has passed."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} has expired: ask an admin for another", key_id=key_id)


class ApiKeyRevoked(Refusal):
    """The key was revoked."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked: ask an admin for another", key_id=key_id)


class RoleMissing(Refusal):
    """The key does not have the role that the call needs."""

    def __init__(self, method: str, role: str, why: str = "") -> None:
        or_admin = "" if role == "ADMIN" else ", or ADMIN"
        super().__init__(f"{method} needs a key with the role {role}{or_admin}{why}", method=method, role=role)

    @classmethod
    def of_others(cls, method: str, field: str, owner: str) -> Self:
        """Return the refusal of a request that names another owner than the key's."""
        return cls(method, "ADMIN", f" for a {field} other than the key's own, {owner!r}")


class ApiKeyNotFound(Refusal):
    """There is no such key."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id!r}", key_id=key_id)


class ApiKeyEnded(Refusal):
    """The key was revoked or has expired."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked or has expired: create another", key_id=key_id)


class AuthDisabled(Refusal):
    """The server runs without keys, so that it cannot know who may make them."""

    def __init__(self) -> None:
        super().__init__(
            "this server runs without keys, and so makes none:"
            " stop it, run `jobledger-server keys create`, and start it with --auth keys"
        )


class LimitReached(Refusal):
    """As much as the operator allows; `subject` is whose limit it is, `wait` microseconds until another try helps."""

    def __init__(self, message: str, subject: str, wait: int | None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.subject = subject
        self.wait = wait


class RateLimited(LimitReached):
    """Too many calls of one kind with one key."""

    def __init__(self, key_id: str, kind: str, rate: str, wait: int) -> None:
        super().__init__(
            f"more {kind} calls than {rate} with one key: come back in {wait / SECOND:.2f} s",
            _key(key_id),
            wait,
            kind=kind,
            limit=rate,
        )


class TooManyWatches(LimitReached):
    """As many watches are open as one key, or one owner, may have."""

    def __init__(self, subject: str, limit: int) -> None:
        super().__init__(
            f"{limit} watches of the {subject} are open, as many as may be: end one first",
            subject,
            SECOND,
            limit=str(limit),
        )

    @classmethod
    def of_key(cls, key_id: str, limit: int) -> Self:
        """Return the refusal of a key's watch."""
        return cls(_key(key_id), limit)

    @classmethod
    def of_owner(cls, owner: str, limit: int) -> Self:
        """Return the refusal of an owner's watch."""
        return cls(_owner(owner), limit)


class TooManyQueuedJobs(LimitReached):
    """As many jobs of an owner wait as may."""

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"{limit} jobs of the {_owner(owner)} are QUEUED, as many as may be: come back when some have begun",
            _owner(owner),
            SECOND,
            limit=str(limit),
        )


class TooManyReads(LimitReached):
    """As many reads of an owner wait as may."""

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"{limit} reads of the {_owner(owner)} are waiting, as many as may be: come back a little later",
            _owner(owner),
            SECOND,
            limit=str(limit),
        )


class MessageTooLarge(LimitReached):
    """The request has more bytes than the operator allows."""

    def __init__(self, key_id: str, size: int, limit: int) -> None:
        super().__init__(
            f"the request has {size} bytes, more than {limit}: send less at once",
            _key(key_id),
            None,
            size=str(size),
            limit=str(limit),
        )


def _key(key_id: str) -> str:
    return f"key:{key_id}"


def _owner(owner: str) -> str:
    return f"owner:{owner}"


class WebhookNotFound(Refusal):
    """The webhook does not exist, or belongs to another owner."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"there is no webhook {webhook_id!r}", webhook_id=webhook_id)


class DeliveryNotFound(Refusal):
    """The delivery does not exist, is another webhook's, or is kept no more."""

    def __init__(self, webhook_id: str, delivery_id: str) -> None:
        super().__init__(
            f"webhook {webhook_id!r} has no delivery {delivery_id!r}", webhook_id=webhook_id, delivery_id=delivery_id
        )


class TooManyWebhooks(Refusal):
    """The owner has as many webhooks as one may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} webhooks already, the most there may be: delete one", limit=str(limit))


class ConnectionNotFound(Refusal):
    """Channelz knows no such server, channel or socket, or no more."""

    def __init__(self, why: str) -> None:
        super().__init__(f"there is none of this id, or no more: {why}")


class ServiceNotFound(Refusal):
    """The server has no service of this name, whose health could be asked for."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the server has no service {service[:128]!r}", service=service[:128])


class ReadTooLong(Refusal):
    """The database was not done with a read within the time that one may take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the read was not done within {seconds:g} s: narrow the filter, or ask for smaller pages",
            seconds=f"{seconds:g}",
        )


class QueueFull(Refusal):
    """As much of an owner waits as may; `wait` is microseconds until another try may help."""

    def __init__(self, bound: str, wait: int) -> None:
        super().__init__(f"{_BOUNDS[bound]}: come back after retry_delay", bound=bound)
        self.bound = bound
        self.wait = wait


_BOUNDS = {
    "age": "this owner's oldest write has been waiting for too long",
    "share": "more of this owner's writes are waiting than can be carried out in time",
    "commands": "too many of this owner's writes are waiting",
    "rows": "this owner's writes that are waiting change too many rows",
    "bytes": "this owner's requests that are in flight have too many bytes",
    "calls": "too many calls of this owner are in flight",
}
QUEUE_BOUNDS = tuple(_BOUNDS)
"""What may be reached when a call is refused as QueueFull."""


class Draining(Refusal):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("this server is shutting down: go on at another, or a little later")


class StoreUnavailable(Refusal):
    """The database cannot be reached, or cannot write."""

    def __init__(self) -> None:
        super().__init__("the database cannot be reached or cannot write: come back a little later")
