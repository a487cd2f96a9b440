"""Deadlines, metadata and retries of single calls."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
from google.protobuf.message import Message
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1 import worker_service_pb2 as workers
from jobledger.v1.job_pb2 import Job
from jobledger_client import (
    Backoff,
    DeadlineExceededError,
    EtagMismatchError,
    JobClient,
    JobledgerError,
    JobNotFoundError,
    UnavailableError,
)

from tests.client.controlled import Played

OK = jobs.GetJobResponse(job=Job(job_id="one"))
CLAIMED = workers.ClaimChunksResponse(chunks=[workers.ClaimedChunk(job_id="one")])
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_a_call_has_the_deadline_it_was_given(service: Played):
    got = service.start(lambda client: client.get_job("one", timeout=timedelta(seconds=2.5)))
    service.answer("GetJob", OK)
    got.result()
    assert service.channel.timeouts == [2.5]


def test_a_claim_may_wait_and_then_has_the_default_deadline(service: Played):
    got = service.start(lambda client: client.leases.claim_chunks(["a.b"], worker="w", wait=timedelta(seconds=30)))
    request = service.answer("ClaimChunks", workers.ClaimChunksResponse())
    assert list(got.result()) == []
    assert request.wait.ToTimedelta() == timedelta(seconds=30)
    assert service.channel.timeouts == [40.0]


def test_metadata_goes_with_every_attempt_and_is_read_again():
    keys = iter(["first", "second"])
    service = Played(metadata=lambda: {"Authorization": f"Bearer {next(keys)}"})
    got = service.start(lambda client: client.get_job("one"))
    metadata, _, call = service.take("GetJob")
    assert ("authorization", "Bearer first") in [tuple(pair) for pair in metadata]
    service.end(call, "GetJob", UNAVAILABLE)
    metadata, _, call = service.take("GetJob")
    assert ("authorization", "Bearer second") in [tuple(pair) for pair in metadata]
    call.terminate(OK, (), grpc.StatusCode.OK, "")
    got.result()


def test_a_read_is_repeated_with_growing_waits_inside_its_deadline(service: Played):
    got = service.start(lambda client: client.get_job("one"))
    for _ in range(4):
        service.refuse("GetJob", UNAVAILABLE)
    service.answer("GetJob", OK)
    assert got.result().job_id == "one"
    assert service.time.slept == pytest.approx([0.075, 0.15, 0.3, 0.6])  # ¾ of 0.1, 0.2, 0.4, 0.8 s
    assert service.channel.timeouts == pytest.approx([10.0, 9.925, 9.775, 9.475, 8.875])


def test_a_read_gives_up_when_the_next_attempt_would_be_too_late():
    service = Played(
        timeout=timedelta(seconds=1.0), backoff=Backoff(initial=timedelta(seconds=0.4), max_wait=timedelta(seconds=10))
    )
    got = service.start(lambda client: client.get_job("one"))
    for _ in range(3):
        service.refuse("GetJob", UNAVAILABLE)
    error = got.exception()
    assert isinstance(error, UnavailableError)
    assert error.attempts == 3
    assert service.time.slept == pytest.approx([0.3, 0.6])  # a third wait of 1.2 s does not fit


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimeoutError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
        (grpc.StatusCode.INTERNAL, JobledgerError),
        (grpc.StatusCode.NOT_FOUND, JobledgerError),
        (grpc.StatusCode.UNKNOWN, JobledgerError),
    ],
)
def test_other_failures_are_not_repeated(service: Played, code: grpc.StatusCode, expected: type[Exception]):
    got = service.start(lambda client: client.get_job("one"))
    service.refuse("GetJob", code)
    error = got.exception()
    assert isinstance(error, expected)
    assert (error.code, error.attempts, service.time.slept) == (code, 1, [])


def test_when_the_last_attempt_is_cut_short_the_error_is_the_one_before(service: Played):
    got = service.start(lambda client: client.get_job("one"))
    service.refuse("GetJob", UNAVAILABLE)
    service.refuse("GetJob", grpc.StatusCode.DEADLINE_EXCEEDED)
    error = got.exception()
    assert isinstance(error, UnavailableError)
    assert error.attempts == 2


def test_a_write_cut_short_after_a_full_queue_may_have_had_an_effect(service: Played):
    got = service.start(lambda client: client.cancel_job("one"))
    service.refuse("CancelJob", grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=3.0)
    service.refuse("CancelJob", grpc.StatusCode.DEADLINE_EXCEEDED)
    assert isinstance(got.exception(), DeadlineExceededError)


def test_a_full_queue_is_come_back_to_after_the_time_it_asks_for(service: Played):
    got = service.start(lambda client: client.cancel_job("one"))
    service.refuse("CancelJob", grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=3.0)
    service.answer("CancelJob", jobs.CancelJobResponse(job=OK.job))
    assert got.result().job.job_id == "one"
    assert service.time.slept == pytest.approx([3.025])


def test_an_update_is_repeated_unless_it_has_an_etag(service: Played):
    got = service.start(lambda client: client.update_job("one", priority=9))
    service.refuse("UpdateJob", UNAVAILABLE)
    request = service.answer("UpdateJob", jobs.UpdateJobResponse(job=OK.job))
    assert list(request.update_mask.paths) == ["priority"]
    got.result()

    got = service.start(lambda client: client.update_job("one", priority=9, etag="e"))
    service.refuse("UpdateJob", UNAVAILABLE)
    assert isinstance(got.exception(), UnavailableError)


def test_a_delete_whose_answer_was_lost_is_done(service: Played):
    got = service.start(lambda client: client.delete_job("one"))
    service.refuse("DeleteJob", UNAVAILABLE)
    service.refuse("DeleteJob", grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert got.result() == jobs.DeleteJobResponse()


def test_a_delete_of_no_job_is_an_error(service: Played):
    got = service.start(lambda client: client.delete_job("one"))
    service.refuse("DeleteJob", grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", metadata={"job_id": "one"})
    error = got.exception()
    assert isinstance(error, JobNotFoundError)
    assert error.metadata == {"job_id": "one"}


def test_an_etag_that_is_old_is_never_repeated(service: Played):
    got = service.start(lambda client: client.delete_job("one", etag="e"))
    service.refuse("DeleteJob", grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert isinstance(got.exception(), EtagMismatchError)


@pytest.mark.parametrize(
    ("method", "call", "response", "reason"),
    [
        ("CreateJob", lambda c: c.create_job("a.b"), jobs.CreateJobResponse(job=OK.job, created=True), ""),
        ("RetryJob", lambda c: c.retry_job("one"), jobs.RetryJobResponse(job=OK.job), ""),
        ("ClaimChunks", lambda c: c.leases.claim_chunks(["a.b"], worker="w"), CLAIMED, ""),
        ("ClaimChunks", lambda c: c.leases.claim_chunks(["a.b"], worker="w"), CLAIMED, "DRAINING"),
    ],
)
def test_a_call_is_repeated_under_its_request_id_and_another_call_has_another(
    service: Played, method: str, call: Callable[[JobClient], object], response: Message, reason: str
):
    request_ids = []
    for _ in range(2):
        got = service.start(call)
        first = service.refuse(method, UNAVAILABLE, reason)
        second = service.answer(method, response)
        got.result()
        assert first == second
        request_ids.append(second.request_id)
    assert [UUID(request_id).version for request_id in request_ids] == [4, 4]
    assert request_ids[0] != request_ids[1]


def test_a_named_claim_is_repeated_only_with_a_task_id(service: Played):
    got = service.start(lambda client: client.leases.claim_chunk("one", 0, worker="w", task_id="celery-1"))
    service.refuse("ClaimChunk", UNAVAILABLE)
    service.answer("ClaimChunk", workers.ClaimChunkResponse(chunk=workers.ClaimedChunk(job_id="one")))
    assert got.result().job_id == "one"

    got = service.start(lambda client: client.leases.claim_chunk("one", 0, worker="w"))
    service.refuse("ClaimChunk", UNAVAILABLE)
    assert isinstance(got.exception(), UnavailableError)


RESULT = workers.LeaseResult(lease_token="t")


@pytest.mark.parametrize(
    ("method", "call", "response"),
    [
        (
            "Heartbeat",
            lambda c: c.leases.heartbeat([workers.LeaseReport(lease_token="t")]),
            workers.HeartbeatResponse(results=[workers.HeartbeatResult(lease_token="t")]),
        ),
        ("CompleteChunks", lambda c: c.leases.complete_chunks(["t"]), workers.CompleteChunksResponse(results=[RESULT])),
        (
            "FailChunks",
            lambda c: c.leases.fail_chunks([workers.ChunkFailure(lease_token="t")]),
            workers.FailChunksResponse(results=[RESULT]),
        ),
        ("ReleaseChunks", lambda c: c.leases.release_chunks(["t"]), workers.ReleaseChunksResponse(results=[RESULT])),
    ],
)
def test_reports_on_leases_are_repeated(
    service: Played, method: str, call: Callable[[JobClient], object], response: Message
):
    got = service.start(call)
    first = service.refuse(method, UNAVAILABLE)
    second = service.answer(method, response)
    assert [result.lease_token for result in got.result()] == ["t"]
    assert first == second
