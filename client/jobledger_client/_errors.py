"""The exceptions of failed calls, by reason.

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
│   ├── RequestIdReusedError     REQUEST_ID_REUSED: an earlier request with this request_id had other content
│   └── UniqueKeyTakenError      UNIQUE_KEY_TAKEN: an unfinished job of this kind has the unique_key
├── EtagMismatchError            ETAG_MISMATCH: read the job again
├── PreconditionError
│   ├── JobNotEndedError         JOB_NOT_ENDED
│   ├── JobEndedError            JOB_ENDED
│   ├── JobStartedError          JOB_STARTED
│   ├── NothingToRetryError      NOTHING_TO_RETRY
│   ├── ChunkNotClaimableError   CHUNK_NOT_CLAIMABLE
│   ├── ApiKeyEndedError         API_KEY_ENDED: a revoked or expired key cannot be rotated
│   ├── AuthDisabledError        AUTH_DISABLED: the server runs without keys
│   ├── TooManyPausedKindsError  TOO_MANY_PAUSED_KINDS
│   └── TooManyWebhooksError     TOO_MANY_WEBHOOKS
├── CursorError
│   ├── HistoryTrimmedError      HISTORY_TRIMMED: list again; `oldest_cursor` is the first that still works
│   ├── ForeignCursorError       FOREIGN_CURSOR: a cursor of another database
│   └── HistoryLostError         HISTORY_LOST: the database lost the end of its history
├── UnauthenticatedError         UNAUTHENTICATED: the service, or a proxy before it, does not accept the key
│   ├── ApiKeyMissingError       API_KEY_MISSING
│   ├── ApiKeyUnknownError       API_KEY_UNKNOWN
│   ├── ApiKeyExpiredError       API_KEY_EXPIRED
│   └── ApiKeyRevokedError       API_KEY_REVOKED
├── PermissionDeniedError        PERMISSION_DENIED: the key is valid, but not for this call
│   └── RoleMissingError         ROLE_MISSING: `metadata["role"]` is the role that the call needs
├── LimitError                   a limit that the operator sets
│   ├── RateLimitedError         RATE_LIMITED: repeat after `retry_after`
│   ├── TooManyWatchesError      TOO_MANY_WATCHES
│   ├── TooManyClaimsError       TOO_MANY_CLAIMS: repeat after `retry_after`
│   ├── QuotaExceededError       QUOTA_EXCEEDED
│   ├── TooManyReadsError        TOO_MANY_READS: repeat after `retry_after`
│   ├── ReadTooLongError         READ_TOO_LONG: read less at once
│   └── MessageTooLargeError     MESSAGE_TOO_LARGE: send less at once
├── QueueFullError               QUEUE_FULL: repeat after `retry_after`
├── UnavailableError             UNAVAILABLE without a reason: no server answered
│   ├── DrainingError            DRAINING
│   └── StoreUnavailableError    STORE_UNAVAILABLE
├── DeadlineExceededError        the timeout passed; also a TimeoutError
├── ClientClosedError            the client is closed
└── InternalError                INTERNAL: a defect of the service
    └── InvalidReplyError        the reply cannot be read: a defect, or a version that this client does not know
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks its rule: its path, such as `chunks[3].item_count`, and what is wrong with it."""

    field: str
    description: str


class JobledgerError(Exception):
    """The base of all errors, and the error for a reason that this version does not know.

    `message` is for people; match on the class or on `reason`. `code` is the gRPC status code; `reason` is the name in
    error_reason.proto without its prefix, empty when Jobledger did not send the error; `metadata` are the subjects of
    the reason (job_id, state, …); `retry_after` is None when the service named no time; `attempts` counts
    how often the call was sent, 0 for one that the client held back.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
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
    """The client is closed, was closed during the call, or belongs to the parent of this process."""


class InvalidFieldError(JobledgerError):
    """A field breaks its rule. The call had no effect."""


class PageTokenInvalidError(JobledgerError):
    """A page token is damaged or belongs to another request."""


class NotFoundError(JobledgerError):
    """The named object does not exist, or belongs to another owner."""


class JobNotFoundError(NotFoundError):
    """The job does not exist, or belongs to another owner."""


class ChunkNotFoundError(NotFoundError):
    """The job has no chunk with this index."""


class JobUnreadableError(JobledgerError):
    """The stored job cannot be read. The operator's log has the reason."""


class ApiKeyNotFoundError(NotFoundError):
    """No key has this key_id."""


class WebhookNotFoundError(NotFoundError):
    """The webhook does not exist, or belongs to another owner."""


class ConnectionNotFoundError(NotFoundError):
    """Channelz has no server, channel or socket with this id, or no longer has it."""


class ServiceNotFoundError(NotFoundError):
    """The server has no service with this name."""


class DeliveryNotFoundError(NotFoundError):
    """The webhook has no such delivery, or no longer keeps it."""


class AlreadyExistsError(JobledgerError):
    """The name is in use with other content."""


class JobAlreadyExistsError(AlreadyExistsError):
    """The job_id is in use with other content."""


class RequestIdReusedError(AlreadyExistsError):
    """An earlier request with this request_id had other content."""


class UniqueKeyTakenError(AlreadyExistsError):
    """A job of this kind that has not ended, `metadata["job_id"]`, has the unique_key."""


class EtagMismatchError(JobledgerError):
    """The etag is that of an older revision: read the job again."""


class PreconditionError(JobledgerError):
    """The state does not allow the call."""


class JobNotEndedError(PreconditionError):
    """The job must end first."""


class JobStartedError(PreconditionError):
    """A chunk of the job was claimed, or the job has ended."""


class JobEndedError(PreconditionError):
    """The job has ended and cannot change in this way."""


class NothingToRetryError(PreconditionError):
    """The retry names no failed or cancelled chunk."""


class ChunkNotClaimableError(PreconditionError):
    """The chunk is not PENDING, or not yet due."""


class ApiKeyEndedError(PreconditionError):
    """The key was revoked or has expired, and cannot be rotated."""


class AuthDisabledError(PreconditionError):
    """The server runs without API keys, and creates none."""


class TooManyPausedKindsError(PreconditionError):
    """The owner has the maximum number of paused kinds: resume one."""


class TooManyWebhooksError(PreconditionError):
    """The owner has the maximum number of webhooks: delete one."""


class CursorError(JobledgerError):
    """A watch cannot resume from this cursor: list again."""


class HistoryTrimmedError(CursorError):
    """The cursor is older than the history that the service keeps."""

    @property
    def oldest_cursor(self) -> bytes:
        """The oldest cursor that still works; empty when the service did not name it."""
        try:
            return base64.b64decode(self.metadata.get("oldest_cursor", ""), validate=True)
        except binascii.Error:
            return b""


class ForeignCursorError(CursorError):
    """The cursor belongs to another database."""


class HistoryLostError(CursorError):
    """The database lost the end of the history, in a fail-over or as an older copy was put back."""


class UnauthenticatedError(JobledgerError):
    """The service, or a proxy before it, does not know the caller."""


class ApiKeyMissingError(UnauthenticatedError):
    """The call has no API key: pass an `api_key` to the client."""


class ApiKeyUnknownError(UnauthenticatedError):
    """Unknown API key."""


class ApiKeyExpiredError(UnauthenticatedError):
    """The key has expired."""


class ApiKeyRevokedError(UnauthenticatedError):
    """The key was revoked."""


class PermissionDeniedError(JobledgerError):
    """The caller is known, but may not make this call."""


class RoleMissingError(PermissionDeniedError):
    """The key does not have the role that the call needs."""


class LimitError(JobledgerError):
    """A limit that the operator sets, `metadata["limit"]`, is reached. The call had no effect."""


class RateLimitedError(LimitError):
    """Too many calls with this key; repeat after `retry_after`."""


class TooManyWatchesError(LimitError):
    """This key has the maximum number of open watches."""


class TooManyClaimsError(LimitError):
    """This key has the maximum number of open claims; repeat after `retry_after`."""


class QuotaExceededError(LimitError):
    """The owner would have more than `metadata["quota"]` allows: it has `metadata["value"]`."""


class TooManyReadsError(LimitError):
    """This owner has the maximum number of waiting reads; repeat after `retry_after`."""


class ReadTooLongError(LimitError):
    """A read exceeded its time limit: narrow it, or request smaller pages."""


class MessageTooLargeError(LimitError):
    """The request has more bytes than the service accepts."""


class QueueFullError(JobledgerError):
    """Too many writes are waiting. The call had no effect; repeat after `retry_after`."""


class UnavailableError(JobledgerError):
    """No server answered, or the server cannot answer now."""


class DrainingError(UnavailableError):
    """The server is shutting down: use another one, or repeat a little later."""


class StoreUnavailableError(UnavailableError):
    """The server cannot reach its database."""


class DeadlineExceededError(JobledgerError, TimeoutError):
    """The timeout passed. A write may have taken effect."""


class InternalError(JobledgerError):
    """A defect of the service."""


class InvalidReplyError(InternalError):
    """The reply is not the expected message. A write has taken effect."""
