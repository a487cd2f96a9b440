# Generated from the protos by client/generate_contract.py: edit these, then run `make gen`.
"""The exceptions of failed calls, one for each reason."""

from jobledger_client._error_groups import (
    AlreadyExistsError,
    CursorError,
    JobledgerError,
    LimitError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnavailableError,
)


class InvalidFieldError(JobledgerError):
    """A field that breaks its rule; `field_violations` names the first eight.

    Texts must not have NUL characters. A malformed lease token is an invalid field too. Example: `priority: value
    11 must be from 0 to 10`. INVALID_FIELD (INVALID_ARGUMENT).
    """


class JobNotFoundError(NotFoundError):
    """A job that does not exist, belongs to another owner, or has another uid than the request names.

    Example: GetJob of a job that was deleted. `metadata`: job_id. JOB_NOT_FOUND (NOT_FOUND).
    """


class ChunkNotFoundError(NotFoundError):
    """An index past the job's last chunk.

    Example: ClaimChunk of chunk 7 of a job with five. `metadata`: job_id, chunk_index. CHUNK_NOT_FOUND (NOT_FOUND).
    """


class JobAlreadyExistsError(AlreadyExistsError):
    """A job_id in use with other content.

    Example: CreateJob of "nightly" with another kind. `metadata`: job_id. JOB_ALREADY_EXISTS (ALREADY_EXISTS).
    """


class RequestIdReusedError(AlreadyExistsError):
    """A request_id that was used before with other content.

    Example: CreateJob with the request_id of an earlier, different CreateJob. `metadata`: request_id, and job_id,
    webhook_id or key_id. REQUEST_ID_REUSED (ALREADY_EXISTS).
    """


class EtagMismatchError(JobledgerError):
    """An etag from before another caller's change or another state: read again, decide again.

    Example: UpdateJob after another caller's UpdateJob. `metadata`: job_id, etag. ETAG_MISMATCH (ABORTED).
    """


class JobNotEndedError(PreconditionError):
    """A job that must end first.

    Example: DeleteJob of a RUNNING job without `force`; RetryJob of a RUNNING job that names no chunks. `metadata`:
    job_id, state. JOB_NOT_ENDED (FAILED_PRECONDITION).
    """


class JobEndedError(PreconditionError):
    """A job that has ended and cannot change in this way.

    Example: a new priority for a COMPLETED job; RetryJob of a COMPLETED job. `metadata`: job_id, state. JOB_ENDED
    (FAILED_PRECONDITION).
    """


class NothingToRetryError(PreconditionError):
    """A retry that names a chunk that cannot be retried, or of a job without failed and cancelled chunks.

    Example: RetryJob with chunk_indexes [0] when chunk 0 is COMPLETED. `metadata`: job_id; of a named chunk
    chunk_index, state. NOTHING_TO_RETRY (FAILED_PRECONDITION).
    """


class ChunkNotClaimableError(PreconditionError):
    """A chunk that is not PENDING, has a hold, or is of the service's own.

    Example: ClaimChunk of a chunk that another worker holds. `metadata`: job_id, chunk_index, state.
    CHUNK_NOT_CLAIMABLE (FAILED_PRECONDITION).
    """


class HistoryTrimmedError(CursorError):
    """A cursor older than the history that is kept: list again.

    Example: a resume after two weeks. `metadata`: oldest_cursor (base64). HISTORY_TRIMMED (OUT_OF_RANGE).
    """


class ForeignCursorError(CursorError):
    """A cursor of another database, or from before this one was restored.

    Example: a staging cursor sent to production. FOREIGN_CURSOR (INVALID_ARGUMENT).
    """


class HistoryLostError(CursorError):
    """A cursor of a history whose end the database lost, as a standby without it was promoted, or an older copy was put back.

    Open watches end with it too. List again. HISTORY_LOST (OUT_OF_RANGE).
    """


class PageTokenInvalidError(JobledgerError):
    """A page or resume token that is damaged, of another request, or from before the database was restored.

    Example: the token of a list of FAILED jobs, sent with a filter for RUNNING ones. PAGE_TOKEN_INVALID
    (INVALID_ARGUMENT).
    """


class QueueFullError(JobledgerError):
    """A call of an owner who already has too much waiting, or who does not read; nothing was done.

    `retry_after` says when to retry, after 1 to 10 s. `metadata`: bound (age, share, commands, rows, bytes, calls,
    unsent or receiving). Example: a burst that the disk cannot keep up with. QUEUE_FULL (RESOURCE_EXHAUSTED).
    """


class DrainingError(UnavailableError):
    """A server that is shutting down: retry on another replica, or later.

    Example: a watch on a replica that is being replaced. DRAINING (UNAVAILABLE).
    """


class StoreUnavailableError(UnavailableError):
    """A database that cannot be reached or does not answer; `retry_after` says when to retry.

    While the database is unavailable, calls are refused with this reason and not with QUEUE_FULL or TOO_MANY_READS.
    Example: a full disk, or a database that is failing over. STORE_UNAVAILABLE (UNAVAILABLE).
    """


class ApiKeyMissingError(UnauthenticatedError):
    """A call without an API key to a server that requires one.

    Example: GetJob without the metadata `authorization`. API_KEY_MISSING (UNAUTHENTICATED).
    """


class ApiKeyUnknownError(UnauthenticatedError):
    """An unknown API key.

    Example: a key of staging sent to production, or one that was truncated when it was copied. API_KEY_UNKNOWN
    (UNAUTHENTICATED).
    """


class ApiKeyExpiredError(UnauthenticatedError):
    """A key whose expire_time has passed; it ends open watches too.

    Example: the old key, a day after it was rotated. `metadata`: key_id. API_KEY_EXPIRED (UNAUTHENTICATED).
    """


class ApiKeyRevokedError(UnauthenticatedError):
    """A key that was revoked; it ends open watches too.

    Example: the key of a laptop that was lost. `metadata`: key_id. API_KEY_REVOKED (UNAUTHENTICATED).
    """


class RoleMissingError(PermissionDeniedError):
    """A key without the role that the call needs.

    Example: CreateJob with the key of a worker, or ListJobs of another owner with the key of a caller. `metadata`:
    method, role (CALLER, WORKER, OWNER_ADMIN or ADMIN). ROLE_MISSING (PERMISSION_DENIED).
    """


class ApiKeyNotFoundError(NotFoundError):
    """A key_id that no key has.

    Example: RevokeApiKey of a key of another server. `metadata`: key_id. API_KEY_NOT_FOUND (NOT_FOUND).
    """


class ApiKeyEndedError(PreconditionError):
    """A key that was revoked or has expired, and so cannot be rotated.

    Example: RotateApiKey of a revoked key. `metadata`: key_id. API_KEY_ENDED (FAILED_PRECONDITION).
    """


class AuthDisabledError(PreconditionError):
    """A call about keys to a server that runs without them: it cannot know who may create them.

    Example: CreateApiKey on a server without `--auth keys`. AUTH_DISABLED (FAILED_PRECONDITION).
    """


class RateLimitedError(LimitError):
    """A key that calls more often than the operator allows; `retry_after` says when to retry, QuotaFailure says whose limit it is.

    Nothing was done. Example: the 101st write at once, with a rate of 100/second. `metadata`: kind (read, write or
    watch), limit. RATE_LIMITED (RESOURCE_EXHAUSTED).
    """


class TooManyWatchesError(LimitError):
    """One watch too many of a key or a connection; with `retry_after` and QuotaFailure.

    Example: a dashboard that opens a watch for each row. `metadata`: limit. TOO_MANY_WATCHES (RESOURCE_EXHAUSTED).
    """


class MessageTooLargeError(LimitError):
    """A request with more bytes than the operator allows, 4 MiB by default; gRPC itself refuses one of more than twice as many.

    With QuotaFailure. Example: CreateJob with 10,000 large chunks. `metadata`: size, limit (bytes).
    MESSAGE_TOO_LARGE (RESOURCE_EXHAUSTED).
    """


class TooManyClaimsError(LimitError):
    """A ClaimChunks call of a key that has as many open as the operator allows; with `retry_after` and QuotaFailure.

    Example: a worker for each core of a large fleet, all with one key at one server, where one for each host would
    claim several chunks at once. `metadata`: limit. TOO_MANY_CLAIMS (RESOURCE_EXHAUSTED).
    """


class TooManyReadsError(LimitError):
    """A read of an owner who has as many waiting as the operator allows; with `retry_after` and QuotaFailure.

    Example: a script that lists in 2,000 threads. `metadata`: limit. TOO_MANY_READS (RESOURCE_EXHAUSTED).
    """


class ReadTooLongError(LimitError):
    """A read that the database did not finish within the time that the operator allows: narrow the filter, or ask for smaller pages.

    Example: statistics of all kinds over ten years. `metadata`: seconds. READ_TOO_LONG (RESOURCE_EXHAUSTED).
    """


class WebhookNotFoundError(NotFoundError):
    """A webhook that does not exist, or belongs to another owner.

    Example: PingWebhook of a webhook that was deleted. `metadata`: webhook_id. WEBHOOK_NOT_FOUND (NOT_FOUND).
    """


class DeliveryNotFoundError(NotFoundError):
    """A delivery that does not exist, belongs to another webhook, or is no longer kept.

    Example: RedeliverWebhook of a delivery of last month. `metadata`: webhook_id, delivery_id. DELIVERY_NOT_FOUND
    (NOT_FOUND).
    """


class TooManyWebhooksError(PreconditionError):
    """An owner who has reached the limit of webhooks.

    Example: CreateWebhook when there are 100 already. `metadata`: limit. TOO_MANY_WEBHOOKS (FAILED_PRECONDITION).
    """


class ConnectionNotFoundError(NotFoundError):
    """An id that names no server, channel or socket of the process, or one that is closed.

    Example: GetSocket of grpc.channelz.v1 for a connection that has closed, or that another process has.
    CONNECTION_NOT_FOUND (NOT_FOUND).
    """


class ServiceNotFoundError(NotFoundError):
    """A service that the server does not have.

    Example: Check of grpc.health.v1 for a misspelt service. `metadata`: service. SERVICE_NOT_FOUND (NOT_FOUND).
    """


class JobUnreadableError(JobledgerError):
    """A job whose stored data cannot be read: a damaged row, or one that another program wrote.

    Only this job is affected; see the server's log. Example: GetJob in view FULL of a job whose input is not a
    Struct. `metadata`: job_id. JOB_UNREADABLE (DATA_LOSS).
    """


class UniqueKeyTakenError(AlreadyExistsError):
    """A unique_key that another job of the same kind has: it, or its unique_window, has not ended.

    Example: CreateJob with ON_CONFLICT_REFUSE, or RetryJob of a job whose key was taken after it ended. `metadata`:
    unique_key, job_id (the job that has it). UNIQUE_KEY_TAKEN (ALREADY_EXISTS).
    """


class JobStartedError(PreconditionError):
    """A job of which a chunk was claimed, or which has ended or was retried.

    Example: UpdateJob with a schedule_time for a RUNNING job. `metadata`: job_id, state. JOB_STARTED
    (FAILED_PRECONDITION).
    """


class TooManyPausedKindsError(PreconditionError):
    """An owner who has reached the limit of paused kinds.

    Example: PauseKind when 1,000 others are paused. `metadata`: limit. TOO_MANY_PAUSED_KINDS (FAILED_PRECONDITION).
    """


class LimitCeilingError(PreconditionError):
    """A limit that only a key with ADMIN may raise so far, or delete, as one set its ceiling.

    Example: SetLimit of 10 with the role OWNER_ADMIN over a kind for which ADMIN set 5. `metadata`: scope, ceiling.
    LIMIT_CEILING (FAILED_PRECONDITION).
    """


class TooManyApiKeysError(PreconditionError):
    """An owner who has reached the limit of keys that it may make by itself.

    Example: RotateApiKey with the role OWNER_ADMIN when the owner has 1,000 keys. `metadata`: limit.
    TOO_MANY_API_KEYS (FAILED_PRECONDITION).
    """


class QuotaExceededError(LimitError):
    """An owner who would have more than its quota allows; QuotaFailure names the quota (quota_id), what the owner has (description) and the bound (quota_value), with `retry_after` unless only a deletion makes room.

    GetQuota shows bounds and use to every key of the owner. Example: CreateJob of an owner with max_unfinished_jobs
    1,000 when as many are unfinished. `metadata`: owner, quota (max_unfinished_jobs, max_stored_jobs, max_watches
    or max_artifact_bytes), value, limit. QUOTA_EXCEEDED (RESOURCE_EXHAUSTED).
    """


BY_REASON: dict[str, type[JobledgerError]] = {
    "INVALID_FIELD": InvalidFieldError,
    "JOB_NOT_FOUND": JobNotFoundError,
    "CHUNK_NOT_FOUND": ChunkNotFoundError,
    "JOB_ALREADY_EXISTS": JobAlreadyExistsError,
    "REQUEST_ID_REUSED": RequestIdReusedError,
    "ETAG_MISMATCH": EtagMismatchError,
    "JOB_NOT_ENDED": JobNotEndedError,
    "JOB_ENDED": JobEndedError,
    "NOTHING_TO_RETRY": NothingToRetryError,
    "CHUNK_NOT_CLAIMABLE": ChunkNotClaimableError,
    "HISTORY_TRIMMED": HistoryTrimmedError,
    "FOREIGN_CURSOR": ForeignCursorError,
    "HISTORY_LOST": HistoryLostError,
    "PAGE_TOKEN_INVALID": PageTokenInvalidError,
    "QUEUE_FULL": QueueFullError,
    "DRAINING": DrainingError,
    "STORE_UNAVAILABLE": StoreUnavailableError,
    "API_KEY_MISSING": ApiKeyMissingError,
    "API_KEY_UNKNOWN": ApiKeyUnknownError,
    "API_KEY_EXPIRED": ApiKeyExpiredError,
    "API_KEY_REVOKED": ApiKeyRevokedError,
    "ROLE_MISSING": RoleMissingError,
    "API_KEY_NOT_FOUND": ApiKeyNotFoundError,
    "API_KEY_ENDED": ApiKeyEndedError,
    "AUTH_DISABLED": AuthDisabledError,
    "RATE_LIMITED": RateLimitedError,
    "TOO_MANY_WATCHES": TooManyWatchesError,
    "MESSAGE_TOO_LARGE": MessageTooLargeError,
    "TOO_MANY_CLAIMS": TooManyClaimsError,
    "TOO_MANY_READS": TooManyReadsError,
    "READ_TOO_LONG": ReadTooLongError,
    "WEBHOOK_NOT_FOUND": WebhookNotFoundError,
    "DELIVERY_NOT_FOUND": DeliveryNotFoundError,
    "TOO_MANY_WEBHOOKS": TooManyWebhooksError,
    "CONNECTION_NOT_FOUND": ConnectionNotFoundError,
    "SERVICE_NOT_FOUND": ServiceNotFoundError,
    "JOB_UNREADABLE": JobUnreadableError,
    "UNIQUE_KEY_TAKEN": UniqueKeyTakenError,
    "JOB_STARTED": JobStartedError,
    "TOO_MANY_PAUSED_KINDS": TooManyPausedKindsError,
    "LIMIT_CEILING": LimitCeilingError,
    "TOO_MANY_API_KEYS": TooManyApiKeysError,
    "QUOTA_EXCEEDED": QuotaExceededError,
}
