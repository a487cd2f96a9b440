"""What the ledger refuses, and why; refusals about keys are in access_errors, for limits in limit_errors.

Refusal
├── InvalidField          a value breaks its rule
├── JobNotFound           no such job of this owner
├── JobUnreadable         what is stored of the job cannot be read
├── ChunkNotFound         no such chunk of this job
├── JobAlreadyExists      the job_id is in use with other content
├── RequestIdReused       the request_id came before with other content
├── UniqueKeyTaken        another job has the unique key
├── EtagMismatch          decided before another change
├── JobNotEnded           the job must end first
├── JobEnded              the job has ended and cannot change in this way
├── JobStarted            a chunk of the job was claimed, or the job has ended or was retried
├── NothingToRetry        no failed or cancelled chunk was named
├── ChunkNotClaimable     the chunk is held, done or not yet due
├── HistoryTrimmed        the cursor is older than the history
├── ForeignCursor         the cursor is of another database, or from before a restore
├── HistoryLost           the database lost the history that the cursor is of
├── PageTokenInvalid      the page token is damaged or of another request
├── WebhookNotFound       no such webhook of this owner
├── DeliveryNotFound      no such delivery of this webhook
├── Draining              the server is shutting down
└── StoreUnavailable      the database cannot be reached
"""

import re
from typing import ClassVar


class Refusal(Exception):  # noqa: N818  a refusal is an answer, not a fault
    """A request that the ledger refuses; it has written nothing."""

    reason: ClassVar[str]
    """The reason's name, as callers know it: JobNotFound is JOB_NOT_FOUND."""

    def __init_subclass__(cls) -> None:
        cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata


class InvalidField(Refusal):
    """One or more values break their rules: `violations` pairs each field's path with a sentence."""

    def __init__(self, *violations: tuple[str, str]) -> None:
        shown = "; ".join(f"{field}: {rule}" for field, rule in violations[:3])
        more = len(violations) - 3
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)
        self.violations = violations


class JobNotFound(Refusal):
    """The job does not exist, belongs to another owner, or has another uid than the one that is meant."""

    def __init__(self, job_id: str, uid: str = "") -> None:
        super().__init__(f"there is no job {job_id!r}" + f" with uid {uid}" * bool(uid), job_id=job_id)


class JobUnreadable(Refusal):
    """The stored job is damaged, or another program wrote it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the stored data of job {job_id!r} cannot be read; see the server's log", job_id=job_id)


class ChunkNotFound(Refusal):
    """The job has no chunk with this index."""

    def __init__(self, job_id: str, index: int, total: int) -> None:
        super().__init__(
            f"job {job_id!r} has no chunk {index}: its chunks are 0 to {total - 1}",
            job_id=job_id,
            chunk_index=str(index),
        )


class JobAlreadyExists(Refusal):
    """A job that was created with other content has this job_id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} exists and was created with other content", job_id=job_id)


class RequestIdReused(Refusal):
    """Another request with other content had this request_id."""

    def __init__(self, request_id: str, used_for: str, what: str = "job") -> None:
        super().__init__(
            f"request_id {request_id!r} was used before with other content, for {what} {used_for!r}",
            request_id=request_id,
            **{f"{what}_id": used_for},
        )


class UniqueKeyTaken(Refusal):
    """Another job of the owner and kind has this unique key: it, or its unique_window, has not ended."""

    def __init__(self, unique_key: str, job_id: str) -> None:
        super().__init__(f"job {job_id!r} has the unique_key {unique_key!r}", unique_key=unique_key, job_id=job_id)


class EtagMismatch(Refusal):
    """A caller changed the job, or its state changed, since it had this etag."""

    def __init__(self, job_id: str, etag: str) -> None:
        super().__init__(f"job {job_id!r} has changed: its etag is now {etag!r}", job_id=job_id, etag=etag)


class JobNotEnded(Refusal):
    """The job must end first."""

    def __init__(self, job_id: str, state: str, remedy: str) -> None:
        super().__init__(f"job {job_id!r} has not ended (state {state}): {remedy}", job_id=job_id, state=state)


class JobEnded(Refusal):
    """The job has ended and cannot change in this way."""

    def __init__(self, job_id: str, state: str, what: str) -> None:
        super().__init__(f"job {job_id!r} is {state}: {what}", job_id=job_id, state=state)


class JobStarted(Refusal):
    """A chunk of the job was claimed, or the job has ended or was retried."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(
            f"job {job_id!r} has begun (state {state}): its schedule_time can no longer change",
            job_id=job_id,
            state=state,
        )


class NothingToRetry(Refusal):
    """No chunk can be retried, or one of the named chunks cannot."""

    def __init__(self, job_id: str, detail: str, **chunk: str) -> None:
        super().__init__(f"job {job_id!r}: {detail}", job_id=job_id, **chunk)


class ChunkNotClaimable(Refusal):
    """The chunk is held by a worker, done, or not yet due."""

    def __init__(self, job_id: str, index: int, state: str, detail: str) -> None:
        super().__init__(
            f"chunk {index} of job {job_id!r} is {state}: {detail}", job_id=job_id, chunk_index=str(index), state=state
        )


class HistoryTrimmed(Refusal):
    """The cursor is older than the history; `oldest` is the oldest position to resume from."""

    def __init__(self, oldest: int, message: str = "") -> None:
        super().__init__(message or "the cursor is older than the retained history: list again and watch from there")
        self.oldest = oldest


class ForeignCursor(Refusal):
    """The cursor is from another ledger, or from an epoch of this one before a restore."""

    def __init__(self) -> None:
        super().__init__("the cursor is of another database, or from before a restore: list again and watch from there")


class HistoryLost(Refusal):
    """The cursor is of a history whose end the database lost, in a fail-over or as an older copy was put back."""

    def __init__(self) -> None:
        super().__init__("the database lost the end of the history that was watched: list again and watch from there")


class PageTokenInvalid(Refusal):
    """The token is damaged, or belongs to another request; `field` is the request's field."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(f"{field} {detail}: start again without it, or repeat the request unchanged")
        self.field = field


class WebhookNotFound(Refusal):
    """The webhook does not exist, or belongs to another owner."""

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"there is no webhook {webhook_id!r}", webhook_id=webhook_id)


class DeliveryNotFound(Refusal):
    """The delivery does not exist, belongs to another webhook, or was deleted."""

    def __init__(self, webhook_id: str, delivery_id: str) -> None:
        super().__init__(
            f"webhook {webhook_id!r} has no delivery {delivery_id!r}", webhook_id=webhook_id, delivery_id=delivery_id
        )


class Draining(Refusal):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("this server is shutting down: retry on another replica, or later")


class StoreUnavailable(Refusal):
    """The database cannot be reached, or cannot write."""

    def __init__(self) -> None:
        super().__init__("the database cannot be reached or cannot write: retry later")
