"""The gRPC statuses of the core's refusals; those of the transport's are in transport/errors.py."""

import base64
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

from jobledger.v1.entry_error_pb2 import EntryError
from jobledger.v1.error_reason_pb2 import ErrorReason

from jobledger_service.core.current_call import DeadlinePassedError
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES, SECOND
from jobledger_service.core.model.refusals import errors, limit_errors
from jobledger_service.transport import errors as statuses
from jobledger_service.transport.refusals import InFlightFull

if TYPE_CHECKING:
    from google.protobuf.message import Message

FULL_BYTES: Final = MAX_REPLY_BYTES - 512 * 1024
"""The bytes of a reply from which outcomes of entries are brief: 1,000 brief ones are less than the rest."""
_BRIEF_MESSAGE: Final = 200

DELAY_STEP: Final = SECOND // 10
"""The rounding of a QueueFull's delay, in microseconds: of thousands a second, most have the same status."""


def refused_by_core(
    error: Exception, cursor: Callable[[int], bytes], is_database_away: Callable[[], bool]
) -> statuses.Refused | None:
    """Return the status for a refusal of the core, None for any other error.

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
    metadata = dict(error.metadata)
    if isinstance(error, errors.HistoryTrimmed):
        metadata["oldest_cursor"] = base64.b64encode(cursor(error.oldest)).decode()
    return statuses.Refused(statuses.make_status(error.reason, str(error), metadata, _details(error)), error.reason)


def entry_error(refusal: errors.Refusal, *, brief: bool = False) -> EntryError:
    """Return what the status of a refusal would say; a brief one has no details and a short message."""
    error = EntryError(
        code=statuses.code_of(refusal.reason),
        reason=ErrorReason.Value(f"ERROR_REASON_{refusal.reason}"),
        message=statuses.cut(str(refusal), _BRIEF_MESSAGE if brief else statuses.MAX_MESSAGE),
    )
    if brief:
        return error
    error.metadata.update(refusal.metadata)
    if isinstance(refusal, errors.InvalidField):
        for violation in statuses.bad_request(refusal.violations).field_violations:
            error.field_violations.add(field=violation.field, description=violation.description)
    return error


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
    """Return the status of calls while the database is away."""
    error = errors.StoreUnavailable()
    status = statuses.make_status(error.reason, str(error), {}, [statuses.retry_info(SECOND)])
    return statuses.Refused(status, error.reason, bound)
