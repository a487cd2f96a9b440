"""create_jobs sends jobs in calls that the service accepts, and yields the outcome of each."""

from collections.abc import Iterator

import pytest
from jobledger.v1 import job_service_pb2 as rpc
from jobledger_client import AsyncJobClient, InvalidFieldError, JobAlreadyExistsError, JobClient, NewJob
from jobledger_client._new_jobs import MAX_BATCH_BYTES, batches, outcomes

pytestmark = pytest.mark.one_store("the client sees messages, not the store")


def sizes(jobs: list[NewJob]) -> list[int]:
    return [len(request.requests) for _, request in batches(jobs, validate_only=False)]


def test_a_call_is_bounded_in_jobs_chunks_and_bytes():
    assert sizes([]) == []
    assert sizes([NewJob("k")] * 1_001) == [500, 500, 1]
    assert sizes([NewJob("k", item_count=2_000_000)] * 5) == [2, 2, 1]
    assert sizes([NewJob("k", item_count=3_000, chunk_size=1)] * 4) == [3, 1]
    large = [NewJob("k", chunks=[{"text": "x" * 60_000}] * 10), NewJob("k"), NewJob("k", input={"text": "x" * 60_000})]
    assert sizes(large) == [3]
    assert sizes([NewJob("k", chunks=[{"text": "x" * 60_000}] * 30), NewJob("k")]) == [1, 1]
    for _, request in batches([NewJob("k", input={"text": "x" * 60_000})] * 40, validate_only=False):
        assert request.ByteSize() < 1.01 * MAX_BATCH_BYTES


def test_the_outcomes_come_in_order_and_a_refusal_stops_no_other(sync_client: JobClient, kind: str):
    def jobs() -> Iterator[NewJob]:
        for number in range(600):
            yield NewJob(kind, job_id=f"{kind}-{number}", input={"n": number}, priority=11 if number == 7 else None)
        yield NewJob(kind, job_id=f"{kind}-0", input={"n": 1})

    found = list(sync_client.create_jobs(jobs()))
    assert [one.new.job_id for one in found] == [*(f"{kind}-{number}" for number in range(600)), f"{kind}-0"]
    refused = {one.new.input["n"]: one.error for one in found if one.error}
    assert sum(one.created for one in found) == 599
    assert isinstance(refused[7], InvalidFieldError)
    assert [violation.field for violation in refused[7].field_violations] == ["priority"]
    last = found[-1].error
    assert isinstance(last, JobAlreadyExistsError)
    assert (last.code.name, last.reason, last.metadata) == (
        "ALREADY_EXISTS",
        "JOB_ALREADY_EXISTS",
        {"job_id": f"{kind}-0"},
    )
    assert all(one.job.job_id == one.new.job_id for one in found if one.job)


async def test_the_same_jobs_again_are_the_same_jobs(client: AsyncJobClient, kind: str):
    jobs = [NewJob(kind, item_count=n) for n in range(1, 4)]
    checked = [one async for one in client.create_jobs(jobs, validate_only=True)]
    first = [one async for one in client.create_jobs(jobs)]
    again = [one async for one in client.create_jobs(jobs)]
    assert [one.created for one in (*checked, *first, *again)] == [True] * 6 + [False] * 3
    assert [one.job for one in first] == [one.job for one in again]
    assert (await client.list_jobs(kinds=[kind]).page()).total_size == 3


def test_a_reason_that_the_client_does_not_know_is_an_error_nevertheless():
    response = rpc.BatchCreateJobsResponse(results=[{"error": {"code": 9, "reason": 9_999, "message": "news"}}])
    [outcome] = outcomes([NewJob("k")], response)
    assert (outcome.error.code.name, outcome.error.reason, str(outcome.error)) == ("FAILED_PRECONDITION", "", "news")
