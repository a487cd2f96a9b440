"""What the package offers: this list is a promise, and a change of it belongs in the changelog."""

import inspect

import jobledger_client
from jobledger_client import AsyncJobClient, JobClient

OFFERED = [
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


def test_the_package_offers_exactly_this():
    assert jobledger_client.__all__ == OFFERED
    modules = {name for name, value in vars(jobledger_client).items() if inspect.ismodule(value)}
    assert {name for name in vars(jobledger_client) if not name.startswith("_")} - modules == set(OFFERED)
    # The extras are modules of their own, seen here once another test has imported them.
    assert not {name for name in modules if not name.startswith("_")} - {"cli", "celery"}


def test_the_two_clients_have_the_same_calls():
    def calls(client: type) -> dict[str, list[str]]:
        members = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in members if not name.startswith("_")}

    assert calls(AsyncJobClient) == calls(JobClient)
