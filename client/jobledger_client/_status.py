"""Exceptions from the status of failed calls."""

from collections.abc import Sized
from datetime import timedelta
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from jobledger.v1.entry_error_pb2 import EntryError
from jobledger.v1.error_reason_pb2 import ErrorReason

from jobledger_client import _error_groups as errors
from jobledger_client._generated import _errors as of_reasons

DOMAIN = "jobledger"

_BY_REASON: dict[str, type[errors.JobledgerError]] = {
    **of_reasons.BY_REASON,
    "INTERNAL": errors.InternalError,
}

# Errors of gRPC itself, which Jobledger did not send, have a code and no reason.
_BY_CODE: dict[grpc.StatusCode, type[errors.JobledgerError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
}


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_UNREADABLE = "the reply cannot be decoded: the service has a defect, or a version that this client does not know"
_NOT_DECODED = "Exception deserializing response!"
"""gRPC's details of a call whose reply its deserializer refused."""


def invalid_reply(*, attempts: int = 1) -> errors.InvalidReplyError:
    """Return the error for a reply that is not the expected message."""
    return errors.InvalidReplyError(_UNREADABLE, code=grpc.StatusCode.INTERNAL, attempts=attempts)


def check_results(results: Sized, reports: Sized) -> None:
    """Raise InvalidReplyError for a reply without one result for each report."""
    if len(results) != len(reports):
        raise invalid_reply()


def error_from_call(failure: grpc.RpcError, *, attempts: int = 1) -> errors.JobledgerError:
    """Return the exception for the reason of a failed call, or else for its code."""
    call = cast("grpc.Call", failure)
    if call.details() == _NOT_DECODED:
        return invalid_reply(attempts=attempts)
    info, violations, retry_after = _details(call)
    error_class = _BY_REASON.get(info.reason) or _BY_CODE.get(call.code(), errors.JobledgerError)
    return error_class(
        call.details() or call.code().name,
        code=call.code(),
        reason=info.reason,
        metadata=info.metadata,
        field_violations=violations,
        retry_after=retry_after,
        attempts=attempts,
    )


def error_of_entry(error: EntryError) -> errors.JobledgerError:
    """Return the exception for why one entry of a call is refused."""
    reason = ErrorReason.DESCRIPTOR.values_by_number.get(error.reason)
    name = reason.name.removeprefix("ERROR_REASON_") if reason else ""
    return _BY_REASON.get(name, errors.JobledgerError)(
        error.message,
        code=_CODES.get(error.code, grpc.StatusCode.UNKNOWN),
        reason=name,
        metadata=error.metadata,
        field_violations=[
            errors.FieldViolation(violation.field, violation.description) for violation in error.field_violations
        ],
    )


def _details(call: grpc.Call) -> tuple[error_details_pb2.ErrorInfo, list[errors.FieldViolation], timedelta | None]:
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    retry_after = None
    for detail in _status(call).details:
        try:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                detail.Unpack(bad_request)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) and detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta()
        except (DecodeError, OverflowError, ValueError):
            continue  # a detail that cannot be read says nothing; the status counts
    if info.domain != DOMAIN:
        info.Clear()
    violations = [errors.FieldViolation(v.field, v.description) for v in bad_request.field_violations]
    return info, violations, retry_after


def _status(call: grpc.Call) -> status_pb2.Status:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):  # details that are junk or contradict the status: the status counts
        status = None
    return status or status_pb2.Status()
