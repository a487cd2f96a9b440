"""Statuses of gRPC with the details of google.rpc."""

from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from jobledger.v1.error_reason_pb2 import ErrorReason

DOMAIN: Final = "jobledger"

MAX_VIOLATIONS: Final = 8
"""The maximum number of reported violations."""


def reason_name(reason: Any) -> str:  # noqa: ANN401  an enum value
    """Return the name of a reason."""
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def internal_status(request_id: str) -> grpc.Status:
    """Return the status of a defect: it reveals nothing; the log has the detail under the request id."""
    reason = ErrorReason.ERROR_REASON_INTERNAL
    message = f"internal error; the service's log has the details under the request id {request_id}"
    return make_status(code_pb2.INTERNAL, message, reason, {"request_id": request_id}, [])


def bad_request(violations: tuple[tuple[str, str], ...]) -> error_details_pb2.BadRequest:
    """Return the first violations, cut so that the status fits into the 8 KiB that gRPC gives trailing metadata."""
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[
            violation(field=_cut(field, 150), description=_cut(rule, 300))
            for field, rule in violations[:MAX_VIOLATIONS]
        ]
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def make_status(code: Any, message: str, reason: Any, metadata: dict[str, str], details: list[Message]) -> grpc.Status:  # noqa: ANN401  enum values
    """Return a status with ErrorInfo and further details."""
    name = reason_name(reason)
    status = status_pb2.Status(code=code, message=_cut(message, 1_000))
    for detail in (error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=metadata), *details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)
