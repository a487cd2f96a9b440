"""Statuses of gRPC with the details of google.rpc, and those of the transport's refusals."""

from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from jobledger.v1.reasons import CODES

from . import refusals
from .units import MICROS_PER_SECOND

DOMAIN: Final = "jobledger"

MAX_VIOLATIONS: Final = 8
"""The maximum number of reported violations."""
MAX_MESSAGE: Final = 1_000
"""The maximum characters of a status's message."""

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""After how long gRPC's own retries repeat a call, whatever backoff their policy has (gRFC A6)."""


class Refused(NamedTuple):
    """The status of a refused call.

    `reason` is empty where the code alone says why; `bound` is what is full when the server is overloaded.
    """

    status: grpc.Status
    reason: str = ""
    bound: str = ""


def refused_by_transport(error: Exception) -> Refused | None:
    """Return the status for a refusal of the transport, None for any other error."""
    if not isinstance(error, refusals.CallRefused):
        return None
    if isinstance(error, refusals.RequestTimedOut):
        return deadline_exceeded(error)
    if isinstance(error, refusals.ReplyUnsent):
        return Refused(rpc_status.to_status(status_pb2.Status(code=code_pb2.UNAVAILABLE, message=str(error))))
    if isinstance(error, refusals.InFlightFull):
        return overloaded(str(error), error.bound, MICROS_PER_SECOND)
    details: list[Message] = []
    if isinstance(error, refusals.MalformedRequest):
        details.append(bad_request(((error.field, error.rule),)))
    if isinstance(error, refusals.CallLimitReached):
        details += quota(error.subject, str(error), error.wait)
    return Refused(make_status(error.reason, str(error), error.metadata, details), error.reason)


def deadline_exceeded(error: Exception) -> Refused:
    """Return the status for a caller who no longer waits."""
    return Refused(rpc_status.to_status(status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message=str(error))))


@lru_cache(maxsize=1_024)
def overloaded(message: str, bound: str, wait: int) -> Refused:
    """Return the status of an overload, which must cost little; `wait` is in microseconds."""
    status = make_status("QUEUE_FULL", message, {"bound": bound}, [retry_info(wait)])
    return Refused(status, "QUEUE_FULL", bound)


def quota(subject: str, description: str, wait: int | None, quota_id: str = "", bound: int = 0) -> list[Message]:
    """Return whose limit was reached, and in how many microseconds another try may help, None for never."""
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=subject, description=description, quota_id=quota_id, quota_value=bound
    )
    failure = error_details_pb2.QuotaFailure(violations=[violation])
    return [failure] if wait is None else [failure, retry_info(wait)]


def retry_info(wait: int) -> error_details_pb2.RetryInfo:
    """Return after how many microseconds to try again."""
    seconds, micros = divmod(wait, MICROS_PER_SECOND)
    return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=micros * 1_000))


def code_of(reason: str) -> Any:  # noqa: ANN401  an enum value
    """Return the code of a reason, as the contract states it."""
    return code_pb2.Code.Value(CODES[reason])


def internal_status(request_id: str) -> grpc.Status:
    """Return the status of a defect: it reveals nothing; the log has the detail under the request id."""
    message = f"internal error; the service's log has the details under the request id {request_id}"
    return make_status("INTERNAL", message, {"request_id": request_id}, [])


def bad_request(violations: tuple[tuple[str, str], ...]) -> error_details_pb2.BadRequest:
    """Return the first violations, cut so that the status fits into the 8 KiB that gRPC gives trailing metadata."""
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[
            violation(field=cut(field, 150), description=cut(rule, 300)) for field, rule in violations[:MAX_VIOLATIONS]
        ]
    )


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` ASCII characters, or of fewer others, so that its header is no larger."""
    if len(text) <= limit and text.isascii():
        return text
    sizes = accumulate(
        1 if "%" < character <= "~" or character == " " else 3 * len(character.encode()) for character in text[:limit]
    )
    fits = sum(size <= limit for size in sizes)
    return text if fits == len(text) else text[: fits - 1] + "…"


def make_status(reason: str, message: str, metadata: dict[str, str], details: list[Message]) -> grpc.Status:
    """Return a status with ErrorInfo and further details; RetryInfo is there for the retry policies of gRPC, too."""
    status = status_pb2.Status(code=code_of(reason), message=cut(message, MAX_MESSAGE))
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata), *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    made: Any = rpc_status.to_status(status)  # a named tuple
    # Rounded up: 0 ms would be a retry at once.
    delays = [
        -(-detail.retry_delay.ToMicroseconds() // 1_000)
        for detail in details
        if isinstance(detail, error_details_pb2.RetryInfo)
    ]
    pushback = tuple((PUSHBACK, str(delay)) for delay in delays)
    return made._replace(trailing_metadata=made.trailing_metadata + pushback)  # type: ignore[no-any-return]
