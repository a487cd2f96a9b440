"""Rich errors read apart: code, reason and the named fields, never the text."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from grpc.aio import AioRpcError
from grpc_status import rpc_status
from jobledger.v1.entry_error_pb2 import EntryError
from jobledger.v1.error_reason_pb2 import ErrorReason

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
REASONS = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - an enum, no dict


@dataclass
class Refusal:
    """What a server said when it refused."""

    code: grpc.StatusCode | None = None
    reason: str = ""
    fields: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    retry_delay: float | None = None
    subjects: list[str] = field(default_factory=list)
    quotas: list[tuple[str, int]] = field(default_factory=list)


def read(error: grpc.RpcError) -> Refusal:
    """Return the parts of an error, having checked those that every error has."""
    status = rpc_status.from_call(error)
    assert status is not None, f"an error without google.rpc.Status: {error!r}"
    refusal = Refusal(code=error.code())
    for detail in status.details:
        info, request, retry, quota = ErrorInfo(), BadRequest(), RetryInfo(), QuotaFailure()
        if detail.Unpack(info):
            assert info.domain == "jobledger"
            assert info.reason in REASONS
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            assert all(violation.description for violation in request.field_violations)
            refusal.fields = [violation.field for violation in request.field_violations]
        elif detail.Unpack(retry):
            refusal.retry_delay = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(quota):
            assert all(violation.description for violation in quota.violations)
            refusal.subjects = [violation.subject for violation in quota.violations]
            refusal.quotas = [(violation.quota_id, violation.quota_value) for violation in quota.violations]
    assert refusal.reason, f"an error without ErrorInfo: {error!r}"
    return refusal


@contextmanager
def refused(code: grpc.StatusCode, reason: str, *fields: str) -> Iterator[Refusal]:
    """Hold that the block is refused with this code and reason, naming exactly these fields."""
    result = Refusal()
    with pytest.raises(AioRpcError) as caught:
        yield result
    vars(result).update(vars(read(caught.value)))
    assert (result.code, result.reason, sorted(result.fields)) == (code, reason, sorted(fields)), caught.value.details()


@contextmanager
def invalid(*fields: str) -> Iterator[Refusal]:
    """Hold that the block is refused because these fields, and no others, break their rules."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", *fields) as result:
        yield result


def assert_entry_refused(error: EntryError, *fields: str) -> None:
    """Hold that an entry of a call is refused because these fields, and no others, break their rules."""
    assert (error.code, error.reason) == (INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD)
    assert sorted(violation.field for violation in error.field_violations) == sorted(fields), error.message
    assert all(violation.description for violation in error.field_violations)
    assert error.message
