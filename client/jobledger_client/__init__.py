"""The SDK of Jobledger: two clients, asynchronous and synchronous, and the runner for workers.

The messages that they take and return are those of `jobledger.v1`.
"""

from jobledger_client._async._backend import AsyncClock
from jobledger_client._async._client import AsyncJobClient
from jobledger_client._async._engine_task import AsyncEngineTask
from jobledger_client._async._export import AsyncExport
from jobledger_client._async._pages import AsyncPages
from jobledger_client._async._watch import AsyncWatch
from jobledger_client._engines._bridge import CancelBridge, TaskToStop
from jobledger_client._engines._dispatcher import Dispatcher
from jobledger_client._engines._runner import EngineRunner
from jobledger_client._errors import (
    AlreadyExistsError,
    ApiKeyEndedError,
    ApiKeyExpiredError,
    ApiKeyMissingError,
    ApiKeyNotFoundError,
    ApiKeyRevokedError,
    ApiKeyUnknownError,
    AuthDisabledError,
    ChunkNotClaimableError,
    ChunkNotFoundError,
    ClientClosedError,
    ConnectionNotFoundError,
    CursorAheadError,
    CursorError,
    DeadlineExceededError,
    DeliveryNotFoundError,
    DrainingError,
    EtagMismatchError,
    FieldViolation,
    ForeignCursorError,
    HistoryTrimmedError,
    InternalError,
    InvalidFieldError,
    InvalidReplyError,
    JobAlreadyExistsError,
    JobEndedError,
    JobledgerError,
    JobNotEndedError,
    JobNotFoundError,
    JobUnreadableError,
    LimitError,
    MessageTooLargeError,
    NotFoundError,
    NothingToRetryError,
    PageTokenInvalidError,
    PermissionDeniedError,
    PreconditionError,
    QueueFullError,
    RateLimitedError,
    ReadTooLongError,
    RequestIdReusedError,
    RoleMissingError,
    ServiceNotFoundError,
    StoreUnavailableError,
    TooManyQueuedJobsError,
    TooManyReadsError,
    TooManyWatchesError,
    TooManyWebhooksError,
    UnauthenticatedError,
    UnavailableError,
    WebhookNotFoundError,
)
from jobledger_client._requests import JobFilterFields
from jobledger_client._retry import Backoff
from jobledger_client._snapshots import Relist
from jobledger_client._sync._backend import Clock
from jobledger_client._sync._client import JobClient
from jobledger_client._sync._engine_task import EngineTask
from jobledger_client._sync._export import Export
from jobledger_client._sync._pages import Pages
from jobledger_client._sync._watch import Watch
from jobledger_client._values import TERMINAL_STATES
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._handlers import NotRetryable
from jobledger_client._worker._worker import Worker

__all__ = [
    "TERMINAL_STATES",
    "AlreadyExistsError",
    "ApiKeyEndedError",
    "ApiKeyExpiredError",
    "ApiKeyMissingError",
    "ApiKeyNotFoundError",
    "ApiKeyRevokedError",
    "ApiKeyUnknownError",
    "AsyncClock",
    "AsyncEngineTask",
    "AsyncExport",
    "AsyncJobClient",
    "AsyncPages",
    "AsyncWatch",
    "AuthDisabledError",
    "Backoff",
    "CancelBridge",
    "ChunkContext",
    "ChunkNotClaimableError",
    "ChunkNotFoundError",
    "ClientClosedError",
    "Clock",
    "ConnectionNotFoundError",
    "CursorAheadError",
    "CursorError",
    "DeadlineExceededError",
    "DeliveryNotFoundError",
    "Dispatcher",
    "DrainingError",
    "EngineRunner",
    "EngineTask",
    "EtagMismatchError",
    "Export",
    "FieldViolation",
    "ForeignCursorError",
    "HistoryTrimmedError",
    "InternalError",
    "InvalidFieldError",
    "InvalidReplyError",
    "JobAlreadyExistsError",
    "JobClient",
    "JobEndedError",
    "JobFilterFields",
    "JobNotEndedError",
    "JobNotFoundError",
    "JobUnreadableError",
    "JobledgerError",
    "LimitError",
    "MessageTooLargeError",
    "NotFoundError",
    "NotRetryable",
    "NothingToRetryError",
    "PageTokenInvalidError",
    "Pages",
    "PermissionDeniedError",
    "PreconditionError",
    "QueueFullError",
    "RateLimitedError",
    "ReadTooLongError",
    "Relist",
    "RequestIdReusedError",
    "RoleMissingError",
    "ServiceNotFoundError",
    "StoreUnavailableError",
    "TaskToStop",
    "TooManyQueuedJobsError",
    "TooManyReadsError",
    "TooManyWatchesError",
    "TooManyWebhooksError",
    "UnauthenticatedError",
    "UnavailableError",
    "Watch",
    "WebhookNotFoundError",
    "Worker",
]
