"""The one table from refusals of the ledger to gRPC statuses."""

import base64
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from jobledger.v1.error_reason_pb2 import ErrorReason

from jobledger_service.core.model import access_errors, errors, limit_errors
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.errors import bad_request, make_status, reason_name

from .convert import duration

RETRY_DELAY: Final = Duration(seconds=1)
DELAY_STEP: Final = SECOND // 10
"""The rounding of a QueueFull's delay, in microseconds: of thousands a second, most have the same status."""

_TABLE: Final[dict[type[errors.Refusal], tuple[Any, Any]]] = {
    errors.InvalidField: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    errors.JobNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_JOB_NOT_FOUND),
    errors.JobUnreadable: (code_pb2.DATA_LOSS, ErrorReason.ERROR_REASON_JOB_UNREADABLE),
    errors.ChunkNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_CHUNK_NOT_FOUND),
    errors.JobAlreadyExists: (code_pb2.ALREADY_EXISTS, ErrorReason.ERROR_REASON_JOB_ALREADY_EXISTS),
    errors.RequestIdReused: (code_pb2.ALREADY_EXISTS, ErrorReason.ERROR_REASON_REQUEST_ID_REUSED),
    errors.EtagMismatch: (code_pb2.ABORTED, ErrorReason.ERROR_REASON_ETAG_MISMATCH),
    errors.JobNotEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOB_NOT_ENDED),
    errors.JobEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOB_ENDED),
    errors.NothingToRetry: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_NOTHING_TO_RETRY),
    errors.ChunkNotClaimable: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_CHUNK_NOT_CLAIMABLE),
    errors.HistoryTrimmed: (code_pb2.OUT_OF_RANGE, ErrorReason.ERROR_REASON_HISTORY_TRIMMED),
    errors.ForeignCursor: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_FOREIGN_CURSOR),
    errors.CursorAhead: (code_pb2.OUT_OF_RANGE, ErrorReason.ERROR_REASON_CURSOR_AHEAD),
    errors.PageTokenInvalid: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID),
    access_errors.ApiKeyMissing: (code_pb2.UNAUTHENTICATED, ErrorReason.ERROR_REASON_API_KEY_MISSING),
    access_errors.ApiKeyUnknown: (code_pb2.UNAUTHENTICATED, ErrorReason.ERROR_REASON_API_KEY_UNKNOWN),
    access_errors.ApiKeyExpired: (code_pb2.UNAUTHENTICATED, ErrorReason.ERROR_REASON_API_KEY_EXPIRED),
    access_errors.ApiKeyRevoked: (code_pb2.UNAUTHENTICATED, ErrorReason.ERROR_REASON_API_KEY_REVOKED),
    access_errors.RoleMissing: (code_pb2.PERMISSION_DENIED, ErrorReason.ERROR_REASON_ROLE_MISSING),
    access_errors.ApiKeyNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_API_KEY_NOT_FOUND),
    access_errors.ApiKeyEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_API_KEY_ENDED),
    access_errors.AuthDisabled: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_AUTH_DISABLED),
    limit_errors.RateLimited: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_RATE_LIMITED),
    limit_errors.TooManyWatches: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_WATCHES),
    limit_errors.TooManyQueuedJobs: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_QUEUED_JOBS),
    limit_errors.TooManyReads: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_READS),
    limit_errors.MessageTooLarge: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE),
    errors.WebhookNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_WEBHOOK_NOT_FOUND),
    errors.DeliveryNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_DELIVERY_NOT_FOUND),
    limit_errors.TooManyWebhooks: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_TOO_MANY_WEBHOOKS),
    errors.ConnectionNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_CONNECTION_NOT_FOUND),
    errors.ServiceNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_SERVICE_NOT_FOUND),
    limit_errors.ReadTooLong: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_READ_TOO_LONG),
    limit_errors.QueueFull: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_QUEUE_FULL),
    errors.Draining: (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_DRAINING),
    errors.StoreUnavailable: (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
}


def status_of(refusal: errors.Refusal, cursor: Callable[[int], bytes]) -> grpc.Status:
    """Return the status of a refusal, with its details; `cursor` encodes a position."""
    if isinstance(refusal, limit_errors.QueueFull):
        return _queue_full(refusal.bound, -(-refusal.wait // DELAY_STEP) * DELAY_STEP)
    if isinstance(refusal, errors.StoreUnavailable):
        return _store_unavailable()
    code, reason = _TABLE[type(refusal)]
    metadata = dict(refusal.metadata)
    details: list[Message] = []
    if isinstance(refusal, errors.InvalidField):
        details.append(bad_request(refusal.violations))
    if isinstance(refusal, errors.PageTokenInvalid):
        details.append(bad_request(((refusal.field, str(refusal)),)))
    if isinstance(refusal, errors.ForeignCursor):
        details.append(bad_request((("cursor", str(refusal)),)))
    if isinstance(refusal, errors.HistoryTrimmed):
        metadata["oldest_cursor"] = base64.b64encode(cursor(refusal.oldest)).decode()
    if isinstance(refusal, limit_errors.LimitReached):
        details += _quota(refusal)
    return make_status(code, str(refusal), reason, metadata, details)


@lru_cache(maxsize=1_024)
def _queue_full(bound: str, delay: int) -> grpc.Status:
    """Return the status of a call that is refused for overload; this must be cheap."""
    refusal = limit_errors.QueueFull(bound, delay)
    code, reason = _TABLE[limit_errors.QueueFull]
    retry = error_details_pb2.RetryInfo(retry_delay=duration(delay))
    return make_status(code, str(refusal), reason, refusal.metadata, [retry])


@cache
def _store_unavailable() -> grpc.Status:
    """Return the status of a call without a database; all calls share it while the database is away."""
    refusal = errors.StoreUnavailable()
    code, reason = _TABLE[errors.StoreUnavailable]
    return make_status(code, str(refusal), reason, {}, [error_details_pb2.RetryInfo(retry_delay=RETRY_DELAY)])


def reason_of(refusal: errors.Refusal) -> str:
    """Return the name of a refusal's reason."""
    _, reason = _TABLE[type(refusal)]
    return reason_name(reason)


def _quota(refusal: limit_errors.LimitReached) -> list[Message]:
    violation = error_details_pb2.QuotaFailure.Violation(subject=refusal.subject, description=str(refusal))
    failure = error_details_pb2.QuotaFailure(violations=[violation])
    if refusal.wait is None:
        return [failure]
    return [failure, error_details_pb2.RetryInfo(retry_delay=duration(refusal.wait))]
