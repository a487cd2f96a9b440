"""The table from the core's refusals to gRPC statuses; that of the transport's is in transport/errors.py."""

import base64
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from google.rpc import code_pb2
from jobledger.v1 import job_service_pb2 as api
from jobledger.v1.error_reason_pb2 import ErrorReason

from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.refusals import access_errors, errors, limit_errors
from jobledger_service.core.sharing.current_call import DeadlinePassedError
from jobledger_service.transport import errors as statuses
from jobledger_service.transport.refusals import InFlightFull

if TYPE_CHECKING:
    from google.protobuf.message import Message

DELAY_STEP: Final = SECOND // 10
"""The rounding of a QueueFull's delay, in microseconds: of thousands a second, most have the same status."""

_TABLE: Final[dict[type[errors.Refusal], tuple[Any, Any]]] = {
    errors.InvalidField: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    errors.JobNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_JOB_NOT_FOUND),
    errors.JobUnreadable: (code_pb2.DATA_LOSS, ErrorReason.ERROR_REASON_JOB_UNREADABLE),
    errors.ChunkNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_CHUNK_NOT_FOUND),
    errors.JobAlreadyExists: (code_pb2.ALREADY_EXISTS, ErrorReason.ERROR_REASON_JOB_ALREADY_EXISTS),
    errors.RequestIdReused: (code_pb2.ALREADY_EXISTS, ErrorReason.ERROR_REASON_REQUEST_ID_REUSED),
    errors.UniqueKeyTaken: (code_pb2.ALREADY_EXISTS, ErrorReason.ERROR_REASON_UNIQUE_KEY_TAKEN),
    errors.EtagMismatch: (code_pb2.ABORTED, ErrorReason.ERROR_REASON_ETAG_MISMATCH),
    errors.JobNotEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOB_NOT_ENDED),
    errors.JobStarted: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOB_STARTED),
    errors.JobEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOB_ENDED),
    errors.NothingToRetry: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_NOTHING_TO_RETRY),
    errors.ChunkNotClaimable: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_CHUNK_NOT_CLAIMABLE),
    errors.HistoryTrimmed: (code_pb2.OUT_OF_RANGE, ErrorReason.ERROR_REASON_HISTORY_TRIMMED),
    errors.ForeignCursor: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_FOREIGN_CURSOR),
    errors.HistoryLost: (code_pb2.OUT_OF_RANGE, ErrorReason.ERROR_REASON_HISTORY_LOST),
    errors.PageTokenInvalid: (code_pb2.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID),
    access_errors.ApiKeyNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_API_KEY_NOT_FOUND),
    access_errors.ApiKeyEnded: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_API_KEY_ENDED),
    access_errors.AuthDisabled: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_AUTH_DISABLED),
    limit_errors.QuotaExceeded: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_QUOTA_EXCEEDED),
    limit_errors.TooManyReads: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_READS),
    errors.WebhookNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_WEBHOOK_NOT_FOUND),
    errors.DeliveryNotFound: (code_pb2.NOT_FOUND, ErrorReason.ERROR_REASON_DELIVERY_NOT_FOUND),
    limit_errors.TooManyWebhooks: (code_pb2.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_TOO_MANY_WEBHOOKS),
    limit_errors.TooManyPausedKinds: (
        code_pb2.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_TOO_MANY_PAUSED_KINDS,
    ),
    limit_errors.ReadTooLong: (code_pb2.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_READ_TOO_LONG),
    errors.Draining: (code_pb2.UNAVAILABLE, ErrorReason.ERROR_REASON_DRAINING),
}
"""Beside those for which `refused_by_core` makes a status of its own."""


def refused_by_core(
    error: Exception, cursor: Callable[[int], bytes], is_database_away: Callable[[], bool]
) -> statuses.Refused | None:
    """Return what the caller gets of whom the core refuses a request, None when the error is another one.

    `cursor` encodes a position. While the database is away, that is why too much waits, and callers get that reason.
    """
    if isinstance(error, limit_errors.QueueFull | limit_errors.TooManyReads | InFlightFull) and is_database_away():
        return _store_unavailable("" if isinstance(error, limit_errors.TooManyReads) else error.bound)
    if isinstance(error, limit_errors.QueueFull):
        return statuses.overloaded(str(error), error.bound, -(-error.wait // DELAY_STEP) * DELAY_STEP)
    if isinstance(error, errors.StoreUnavailable):
        return _store_unavailable()
    if isinstance(error, DeadlinePassedError):
        return statuses.deadline_exceeded(error)
    if not isinstance(error, errors.Refusal):
        return None
    code, reason = _TABLE[type(error)]
    metadata = dict(error.metadata)
    if isinstance(error, errors.HistoryTrimmed):
        metadata["oldest_cursor"] = base64.b64encode(cursor(error.oldest)).decode()
    return statuses.Refused(statuses.make_status(code, str(error), reason, metadata, _details(error)), error.reason)


def reason_number(refusal: errors.Refusal) -> Any:  # noqa: ANN401  an enum value
    """Return the reason of a refusal of one of many, as a number of the contract."""
    return _TABLE[type(refusal)][1]


def fill_error(message: api.CreateJobError, refusal: errors.Refusal) -> None:
    """Fill an empty message with what the status of a refusal would say."""
    message.code, message.reason = _TABLE[type(refusal)]
    message.message = statuses.cut(str(refusal), statuses.MAX_MESSAGE)
    message.metadata.update(refusal.metadata)
    if isinstance(refusal, errors.InvalidField):
        for violation in statuses.bad_request(refusal.violations).field_violations:
            message.field_violations.add(field=violation.field, description=violation.description)


def _details(refusal: errors.Refusal) -> "list[Message]":
    match refusal:
        case errors.InvalidField():
            return [statuses.bad_request(refusal.violations)]
        case errors.PageTokenInvalid():
            return [statuses.bad_request(((refusal.field, str(refusal)),))]
        case errors.ForeignCursor():
            return [statuses.bad_request((("cursor", str(refusal)),))]
        case limit_errors.QuotaExceeded():
            return statuses.quota(refusal.subject, str(refusal), refusal.wait, refusal.quota, refusal.limit)
        case limit_errors.LimitReached():
            return statuses.quota(refusal.subject, str(refusal), refusal.wait)
        case _:
            return []


@cache
def _store_unavailable(bound: str = "") -> statuses.Refused:
    """Return what a caller gets without a database; all get it while that is away."""
    error, reason = errors.StoreUnavailable(), ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
    status = statuses.make_status(code_pb2.UNAVAILABLE, str(error), reason, {}, [statuses.retry_info(SECOND)])
    return statuses.Refused(status, error.reason, bound)
