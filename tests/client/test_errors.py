"""From the status of a refused call to the exception."""

import base64
import pickle
from datetime import timedelta
from typing import Any

import grpc
import jobledger_client
import pytest
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger_client import FieldViolation, HistoryTrimmedError, InvalidFieldError, JobledgerError

from tests.client.controlled import Played

REASONS = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]]


def refused(service: Played, code: grpc.StatusCode, reason: str, **details: Any) -> BaseException | None:
    got = service.start(lambda client: client.get_job("one", timeout=timedelta(seconds=0.01)))
    service.refuse("GetJob", code, reason, **details)
    return got.exception()


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_its_exception(service: Played, reason: str):
    error = refused(service, grpc.StatusCode.FAILED_PRECONDITION, reason, message="why", metadata={"job_id": "one"})
    expected = "".join(word.capitalize() for word in reason.split("_")) + "Error"
    assert type(error).__name__ == expected
    assert getattr(jobledger_client, expected) is type(error)
    assert isinstance(error, JobledgerError)
    assert (error.reason, error.message, error.metadata) == (reason, "why", {"job_id": "one"})
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION


def test_an_unknown_reason_is_the_base_class(service: Played):
    error = refused(service, grpc.StatusCode.FAILED_PRECONDITION, "SOMETHING_NEW")
    assert type(error) is JobledgerError
    assert error.reason == "SOMETHING_NEW"


def test_a_reason_of_another_domain_is_not_ours(service: Played):
    error = refused(service, grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", domain="proxy.example")
    assert type(error) is JobledgerError
    assert (error.reason, error.metadata) == ("", {})


def test_a_status_that_contradicts_its_call_counts_for_nothing(service: Played):
    got = service.start(lambda client: client.get_job("one"))
    _, _, call = service.take("GetJob")
    trailing = (("grpc-status-details-bin", b"\x08\x05"),)  # a Status with code NOT_FOUND
    call.terminate(None, trailing, grpc.StatusCode.ABORTED, "somebody said so")
    error = got.exception()
    assert type(error) is JobledgerError
    assert (error.code, error.message) == (grpc.StatusCode.ABORTED, "somebody said so")


def test_field_violations_are_named(service: Played):
    rules = {
        "priority": "value 11 must be from 0 to 10",
        "chunks[3].item_count": "value 0 must be from 1 to 1000000000",
    }
    error = refused(service, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", fields=rules)
    assert isinstance(error, InvalidFieldError)
    assert error.field_violations == tuple(FieldViolation(field, rule) for field, rule in rules.items())


def test_trimmed_history_reports_where_it_begins(service: Played):
    oldest = base64.b64encode(b"\x01cursor").decode()
    error = refused(service, grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED", metadata={"oldest_cursor": oldest})
    assert isinstance(error, HistoryTrimmedError)
    assert error.oldest_cursor == b"\x01cursor"


@pytest.mark.parametrize("metadata", [{}, {"oldest_cursor": "not base64!"}])
def test_trimmed_history_without_a_beginning_has_an_empty_cursor(metadata: dict[str, str]):
    assert HistoryTrimmedError("gone", metadata=metadata).oldest_cursor == b""


def test_the_call_is_the_cause(service: Played):
    error = refused(service, grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert isinstance(error, JobledgerError)
    assert isinstance(error.__cause__, grpc.RpcError)


def test_errors_travel_between_processes():
    sent = InvalidFieldError("no", code=grpc.StatusCode.INVALID_ARGUMENT, field_violations=[FieldViolation("a", "b")])
    got = pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own bytes
    assert type(got) is InvalidFieldError
    assert (got.code, got.field_violations, str(got)) == (sent.code, sent.field_violations, "no")
