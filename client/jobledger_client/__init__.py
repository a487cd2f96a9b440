"""The SDK of Jobledger: an asynchronous and a synchronous client, and the runner for workers.

The messages that they accept and return are those of `jobledger.v1`.
"""

import typing as _typing

from jobledger_client import _public

if _typing.TYPE_CHECKING:
    from jobledger_client._async._admin import AsyncAdminCalls
    from jobledger_client._async._backend import AsyncClock
    from jobledger_client._async._bulk import AsyncBulkCalls
    from jobledger_client._async._client import AsyncJobClient
    from jobledger_client._async._engine_task import AsyncEngineTask
    from jobledger_client._async._exports import AsyncExport, AsyncExportCalls
    from jobledger_client._async._imports import AsyncImportCalls
    from jobledger_client._async._jobs import AsyncJobCalls
    from jobledger_client._async._leases import AsyncLeaseCalls
    from jobledger_client._async._limits import AsyncLimitCalls
    from jobledger_client._async._pages import AsyncPages
    from jobledger_client._async._statistics import AsyncStatisticsCalls
    from jobledger_client._async._stream import AsyncResumingStream
    from jobledger_client._async._watch import AsyncWatch
    from jobledger_client._async._webhooks import AsyncWebhookCalls
    from jobledger_client._connection import ConnectionOptions
    from jobledger_client._engines._bridge import CancelBridge, TaskToStop
    from jobledger_client._engines._dispatcher import Dispatcher
    from jobledger_client._engines._runner import EngineRunner
    from jobledger_client._error_groups import (
        AlreadyExistsError,
        ClientClosedError,
        CursorError,
        DeadlineExceededError,
        FieldViolation,
        InternalError,
        InvalidReplyError,
        JobledgerError,
        LimitError,
        NotFoundError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
        UnavailableError,
    )
    from jobledger_client._generated._enums import (
        AttemptOutcome,
        CancelOutcome,
        ChangeType,
        ChunkState,
        ComponentKind,
        ComponentState,
        EventOrder,
        ExportFormat,
        FailurePolicy,
        HoldReason,
        JobOrder,
        JobState,
        JobView,
        LabelOperator,
        LeaseStatus,
        OnConflict,
        Role,
        StatsStep,
        StopCause,
        SystemStatus,
        UsageDimension,
        WatchMessageType,
        WatchMode,
        WebhookDeliveryState,
        WebhookEventType,
        WebhookState,
    )
    from jobledger_client._generated._errors import (
        ApiKeyEndedError,
        ApiKeyExpiredError,
        ApiKeyMissingError,
        ApiKeyNotFoundError,
        ApiKeyRevokedError,
        ApiKeyUnknownError,
        AuthDisabledError,
        ChunkNotClaimableError,
        ChunkNotFoundError,
        ConnectionNotFoundError,
        DeliveryNotFoundError,
        DrainingError,
        EtagMismatchError,
        ForeignCursorError,
        HistoryLostError,
        HistoryTrimmedError,
        InvalidFieldError,
        JobAlreadyExistsError,
        JobEndedError,
        JobNotEndedError,
        JobNotFoundError,
        JobStartedError,
        JobUnreadableError,
        LimitCeilingError,
        MessageTooLargeError,
        NothingToRetryError,
        PageTokenInvalidError,
        QueueFullError,
        QuotaExceededError,
        RateLimitedError,
        ReadTooLongError,
        RequestIdReusedError,
        RoleMissingError,
        ServiceNotFoundError,
        StoreUnavailableError,
        TooManyApiKeysError,
        TooManyClaimsError,
        TooManyPausedKindsError,
        TooManyReadsError,
        TooManyWatchesError,
        TooManyWebhooksError,
        UniqueKeyTakenError,
        WebhookNotFoundError,
    )
    from jobledger_client._job_changes import JobChanges
    from jobledger_client._limits import Limit, LimitScope, PausedKind, for_each, for_kind, for_label
    from jobledger_client._new_jobs import JobOutcome, NewJob
    from jobledger_client._policies import ChunkSpec, FinalizerSpec, RetryPolicy, Stage
    from jobledger_client._requests import JobFilterFields
    from jobledger_client._retry import Backoff
    from jobledger_client._seen_jobs import Relist
    from jobledger_client._sync._admin import AdminCalls
    from jobledger_client._sync._backend import Clock
    from jobledger_client._sync._bulk import BulkCalls
    from jobledger_client._sync._client import JobClient
    from jobledger_client._sync._engine_task import EngineTask
    from jobledger_client._sync._exports import Export, ExportCalls
    from jobledger_client._sync._imports import ImportCalls
    from jobledger_client._sync._jobs import JobCalls
    from jobledger_client._sync._leases import LeaseCalls
    from jobledger_client._sync._limits import LimitCalls
    from jobledger_client._sync._pages import Pages
    from jobledger_client._sync._statistics import StatisticsCalls
    from jobledger_client._sync._stream import ResumingStream
    from jobledger_client._sync._watch import Watch
    from jobledger_client._sync._webhooks import WebhookCalls
    from jobledger_client._terminal_states import TERMINAL_STATES
    from jobledger_client._worker._context import ChunkContext, StopReason
    from jobledger_client._worker._handlers import NotRetryable, RetryLater
    from jobledger_client._worker._worker import Worker

else:
    __getattr__, __dir__ = _public.found_when_asked_for(globals())

__all__ = [
    "TERMINAL_STATES",
    "AdminCalls",
    "AlreadyExistsError",
    "ApiKeyEndedError",
    "ApiKeyExpiredError",
    "ApiKeyMissingError",
    "ApiKeyNotFoundError",
    "ApiKeyRevokedError",
    "ApiKeyUnknownError",
    "AsyncAdminCalls",
    "AsyncBulkCalls",
    "AsyncClock",
    "AsyncEngineTask",
    "AsyncExport",
    "AsyncExportCalls",
    "AsyncImportCalls",
    "AsyncJobCalls",
    "AsyncJobClient",
    "AsyncLeaseCalls",
    "AsyncLimitCalls",
    "AsyncPages",
    "AsyncResumingStream",
    "AsyncStatisticsCalls",
    "AsyncWatch",
    "AsyncWebhookCalls",
    "AttemptOutcome",
    "AuthDisabledError",
    "Backoff",
    "BulkCalls",
    "CancelBridge",
    "CancelOutcome",
    "ChangeType",
    "ChunkContext",
    "ChunkNotClaimableError",
    "ChunkNotFoundError",
    "ChunkSpec",
    "ChunkState",
    "ClientClosedError",
    "Clock",
    "ComponentKind",
    "ComponentState",
    "ConnectionNotFoundError",
    "ConnectionOptions",
    "CursorError",
    "DeadlineExceededError",
    "DeliveryNotFoundError",
    "Dispatcher",
    "DrainingError",
    "EngineRunner",
    "EngineTask",
    "EtagMismatchError",
    "EventOrder",
    "Export",
    "ExportCalls",
    "ExportFormat",
    "FailurePolicy",
    "FieldViolation",
    "FinalizerSpec",
    "ForeignCursorError",
    "HistoryLostError",
    "HistoryTrimmedError",
    "HoldReason",
    "ImportCalls",
    "InternalError",
    "InvalidFieldError",
    "InvalidReplyError",
    "JobAlreadyExistsError",
    "JobCalls",
    "JobChanges",
    "JobClient",
    "JobEndedError",
    "JobFilterFields",
    "JobNotEndedError",
    "JobNotFoundError",
    "JobOrder",
    "JobOutcome",
    "JobStartedError",
    "JobState",
    "JobUnreadableError",
    "JobView",
    "JobledgerError",
    "LabelOperator",
    "LeaseCalls",
    "LeaseStatus",
    "Limit",
    "LimitCalls",
    "LimitCeilingError",
    "LimitError",
    "LimitScope",
    "MessageTooLargeError",
    "NewJob",
    "NotFoundError",
    "NotRetryable",
    "NothingToRetryError",
    "OnConflict",
    "PageTokenInvalidError",
    "Pages",
    "PausedKind",
    "PermissionDeniedError",
    "PreconditionError",
    "QueueFullError",
    "QuotaExceededError",
    "RateLimitedError",
    "ReadTooLongError",
    "Relist",
    "RequestIdReusedError",
    "ResumingStream",
    "RetryLater",
    "RetryPolicy",
    "Role",
    "RoleMissingError",
    "ServiceNotFoundError",
    "Stage",
    "StatisticsCalls",
    "StatsStep",
    "StopCause",
    "StopReason",
    "StoreUnavailableError",
    "SystemStatus",
    "TaskToStop",
    "TooManyApiKeysError",
    "TooManyClaimsError",
    "TooManyPausedKindsError",
    "TooManyReadsError",
    "TooManyWatchesError",
    "TooManyWebhooksError",
    "UnauthenticatedError",
    "UnavailableError",
    "UniqueKeyTakenError",
    "UsageDimension",
    "Watch",
    "WatchMessageType",
    "WatchMode",
    "WebhookCalls",
    "WebhookDeliveryState",
    "WebhookEventType",
    "WebhookNotFoundError",
    "WebhookState",
    "Worker",
    "__version__",
    "for_each",
    "for_kind",
    "for_label",
]

__version__ = "0.1.0"
