"""What can go wrong, as exceptions by reason.

JobledgerError
├── InvalidFieldError            INVALID_FIELD: a field breaks its rule; `field_violations` names each one
├── PageTokenInvalidError        PAGE_TOKEN_INVALID: a damaged page token, or another request's
├── NotFoundError
│   ├── JobNotFoundError         JOB_NOT_FOUND
│   ├── ChunkNotFoundError       CHUNK_NOT_FOUND
│   ├── ApiKeyNotFoundError      API_KEY_NOT_FOUND
│   ├── WebhookNotFoundError     WEBHOOK_NOT_FOUND
│   ├── DeliveryNotFoundError    DELIVERY_NOT_FOUND
│   ├── ConnectionNotFoundError  CONNECTION_NOT_FOUND: of channelz
│   └── ServiceNotFoundError     SERVICE_NOT_FOUND: of grpc.health.v1
├── JobUnreadableError           JOB_UNREADABLE: what is stored of the job is damaged
├── AlreadyExistsError
│   ├── JobAlreadyExistsError    JOB_ALREADY_EXISTS: the job_id is in use with other content
│   └── RequestIdReusedError     REQUEST_ID_REUSED: the request_id came before with other content
├── EtagMismatchError            ETAG_MISMATCH: read again, decide again
├── PreconditionError
│   ├── JobNotEndedError         JOB_NOT_ENDED
│   ├── JobEndedError            JOB_ENDED
│   ├── NothingToRetryError      NOTHING_TO_RETRY
│   ├── ChunkNotClaimableError   CHUNK_NOT_CLAIMABLE
│   ├── ApiKeyEndedError         API_KEY_ENDED: the key cannot be rotated any more
│   ├── AuthDisabledError        AUTH_DISABLED: the server runs without keys
│   └── TooManyWebhooksError     TOO_MANY_WEBHOOKS
├── CursorError
│   ├── HistoryTrimmedError      HISTORY_TRIMMED: list again; `oldest_cursor` is the first that still works
│   ├── ForeignCursorError       FOREIGN_CURSOR: a cursor of another database
│   └── CursorAheadError         CURSOR_AHEAD: the database was restored from an older backup
├── UnauthenticatedError         UNAUTHENTICATED: the key is not good, here or at a proxy
│   ├── ApiKeyMissingError       API_KEY_MISSING
│   ├── ApiKeyUnknownError       API_KEY_UNKNOWN
│   ├── ApiKeyExpiredError       API_KEY_EXPIRED
│   └── ApiKeyRevokedError       API_KEY_REVOKED
├── PermissionDeniedError        PERMISSION_DENIED: the key is good, but not for this
│   └── RoleMissingError         ROLE_MISSING: `metadata["role"]` is the one that is needed
├── LimitError                   as much as the operator allows
│   ├── RateLimitedError         RATE_LIMITED: come back after `retry_after`
│   ├── TooManyWatchesError      TOO_MANY_WATCHES
│   ├── TooManyQueuedJobsError   TOO_MANY_QUEUED_JOBS
│   ├── TooManyReadsError        TOO_MANY_READS: come back after `retry_after`
│   ├── ReadTooLongError         READ_TOO_LONG: ask for less at once
│   └── MessageTooLargeError     MESSAGE_TOO_LARGE: send less at once
├── QueueFullError               QUEUE_FULL: come back after `retry_after`
├── UnavailableError             UNAVAILABLE without a reason: nobody answered
│   ├── DrainingError            DRAINING
│   └── StoreUnavailableError    STORE_UNAVAILABLE
├── DeadlineExceededError        the time given was not enough; also a TimeoutError
├── ClientClosedError            the call was made after the client was closed
└── InternalError                INTERNAL: a defect of the service
    └── InvalidReplyError        the reply cannot be read: a defect, or a version that this client does not know
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks its rule: its path, such as `chunks[3].item_count`, and what is wrong with it."""

    field: str
    description: str


class JobledgerError(Exception):
    """What every failed call raises, itself when the reason is one that this version does not know.

    `message` is for people; match on the class or on `reason`. `code` is the gRPC status code; `reason` is the name
    in error_reason.proto without its prefix, empty when the answer did not come from Jobledger; `metadata` is what
    the reason is about (job_id, state, …); `retry_after` is in seconds, None when the service did not say; `attempts`
    counts how often the call was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_after = retry_after
        self.attempts = attempts


class ClientClosedError(JobledgerError):
    """The client is closed, was closed during the call, or is that of the process which this one was forked from."""


class InvalidFieldError(JobledgerError):
    """A field breaks its rule. Nothing of the call was taken."""


class PageTokenInvalidError(JobledgerError):
    """A page token is damaged or belongs to another request."""


class NotFoundError(JobledgerError):
    """What was named does not exist, or belongs to another owner."""


class JobNotFoundError(NotFoundError):
    """No such job, or another owner's."""


class ChunkNotFoundError(NotFoundError):
    """The job has no chunk with this index."""


class JobUnreadableError(JobledgerError):
    """What is stored of the job cannot be read; it is for the operator, whose log says why."""


class ApiKeyNotFoundError(NotFoundError):
    """No key has this key_id."""


class WebhookNotFoundError(NotFoundError):
    """No such webhook, or another owner's."""


class ConnectionNotFoundError(NotFoundError):
    """Channelz knows no server, channel or socket of this id, or no more."""


class ServiceNotFoundError(NotFoundError):
    """The server has no service of this name."""


class DeliveryNotFoundError(NotFoundError):
    """The webhook has no such delivery, or it is kept no more."""


class AlreadyExistsError(JobledgerError):
    """The name is in use with other content."""


class JobAlreadyExistsError(AlreadyExistsError):
    """The job_id is in use with other content."""


class RequestIdReusedError(AlreadyExistsError):
    """The request_id came before with other content."""


class EtagMismatchError(JobledgerError):
    """The etag is of an older revision: read again, decide again."""


class PreconditionError(JobledgerError):
    """The state does not allow it."""


class JobNotEndedError(PreconditionError):
    """The job must end first."""


class JobEndedError(PreconditionError):
    """The job has ended and cannot change in this way."""


class NothingToRetryError(PreconditionError):
    """The retry names no failed or cancelled chunk."""


class ChunkNotClaimableError(PreconditionError):
    """The chunk is not PENDING, or not yet due."""


class ApiKeyEndedError(PreconditionError):
    """The key was revoked or has expired, and cannot be rotated."""


class AuthDisabledError(PreconditionError):
    """The server runs without keys, and makes none."""


class TooManyWebhooksError(PreconditionError):
    """There are as many webhooks as there may be: delete one."""


class CursorError(JobledgerError):
    """A watch cannot resume from this cursor: list again."""


class HistoryTrimmedError(CursorError):
    """The cursor is older than the history that is kept."""

    @property
    def oldest_cursor(self) -> bytes:
        """The oldest cursor that still works; empty when the service did not say."""
        try:
            return base64.b64decode(self.metadata.get("oldest_cursor", ""), validate=True)
        except binascii.Error:
            return b""


class ForeignCursorError(CursorError):
    """The cursor is of another database."""


class CursorAheadError(CursorError):
    """The cursor is past the end of the ledger."""


class UnauthenticatedError(JobledgerError):
    """The service, or a proxy before it, does not know who calls."""


class ApiKeyMissingError(UnauthenticatedError):
    """The call carried no API key: give the client an `api_key`."""


class ApiKeyUnknownError(UnauthenticatedError):
    """The key is none of this service."""


class ApiKeyExpiredError(UnauthenticatedError):
    """The key's time has passed."""


class ApiKeyRevokedError(UnauthenticatedError):
    """The key was revoked."""


class PermissionDeniedError(JobledgerError):
    """The caller is known, and may not do this."""


class RoleMissingError(PermissionDeniedError):
    """The key does not have the role that the call needs."""


class LimitError(JobledgerError):
    """As much as the operator allows. Nothing was done; `metadata["limit"]` says how much that is."""


class RateLimitedError(LimitError):
    """Too many calls with this key; come back after `retry_after` seconds."""


class TooManyWatchesError(LimitError):
    """As many watches are open as this key, or its owner, may have."""


class TooManyQueuedJobsError(LimitError):
    """As many jobs of this owner are QUEUED as may be."""


class TooManyReadsError(LimitError):
    """As many reads of this owner wait as may; come back after `retry_after` seconds."""


class ReadTooLongError(LimitError):
    """The service was not done with a read within the time that one may take: narrow it, or ask for smaller pages."""


class MessageTooLargeError(LimitError):
    """The request has more bytes than the service takes."""


class QueueFullError(JobledgerError):
    """Too many writes are waiting. Nothing was written; come back after `retry_after` seconds."""


class UnavailableError(JobledgerError):
    """Nobody answered, or nobody can for now."""


class DrainingError(UnavailableError):
    """The server is shutting down: go on at another, or a little later."""


class StoreUnavailableError(UnavailableError):
    """The server cannot reach its database."""


class DeadlineExceededError(JobledgerError, TimeoutError):
    """The time given was not enough. A write may have taken effect."""


class InternalError(JobledgerError):
    """A defect of the service."""


class InvalidReplyError(InternalError):
    """The service answered with bytes that are not the reply's message. A write has taken effect."""
