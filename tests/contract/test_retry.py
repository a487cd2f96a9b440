"""RetryJob: failed and cancelled chunks go again in a new run; completed ones are kept."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import EventOrder, RetryJobRequest

from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.errors import invalid, refused
from tests.support.states import (
    CANCELLED,
    CANCELLING,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    LEASE_LOST,
    QUEUED,
    RUNNING,
    chunk_states,
)

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def half_failed(api: Api, kind: str) -> Job:
    """Return a FAILED job of four chunks, of which 0 and 1 are completed."""
    job = await api.create(kind, item_count=4, chunk_size=1)
    claimed = await api.claim(kind, 4)
    await api.complete(*claimed[:2])
    await api.fail(*claimed[2:], not_retryable=True)
    job = await api.get(job.job_id)
    assert job.state == FAILED
    return job


async def test_a_retry_begins_a_new_run_and_keeps_what_was_completed(api: Api, kind: str):
    before = await half_failed(api, kind)
    answer = await api.retry(before.job_id)
    job = await api.get(before.job_id)
    assert (job.state, job.retry_count, job.revision) == (QUEUED, 1, before.revision + 1)
    assert chunk_states(job) == [CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_PENDING, CHUNK_PENDING]
    assert list(job.chunks[:2]) == list(before.chunks[:2])
    assert job.progress.percent == 50
    for absent in ("error", "start_time", "end_time"):
        assert not job.HasField(absent)
    job.ClearField("chunks")
    job.ClearField("attempts")
    assert answer == job

    claimed = await api.claim(kind, 10)
    assert [one.chunk.index for one in claimed] == [2, 3]
    await api.complete(*claimed)
    assert (await api.get(job.job_id)).state == COMPLETED


async def test_a_chunk_that_is_retried_has_its_attempts_again(api: Api, kind: str):
    job = await api.create(kind, retry_policy={"max_attempts": 1})
    await api.fail(*await api.claim(kind))
    await api.retry(job.job_id)
    chunk = (await api.get(job.job_id)).chunks[0]
    assert chunk.state == CHUNK_PENDING
    assert chunk.max_attempts == 2
    assert not chunk.HasField("next_attempt_time")
    assert not chunk.HasField("end_time")
    [claimed] = await api.claim(kind)
    assert claimed.chunk.attempt == 2
    await api.fail(claimed)
    assert (await api.get(job.job_id)).state == FAILED


async def test_a_cancelled_job_is_retried(api: Api, kind: str):
    job = await api.job_in(CANCELLED, kind, item_count=2, chunk_size=1)
    await api.retry(job.job_id)
    job = await api.get(job.job_id)
    assert (job.state, job.cancel_reason) == (QUEUED, "")
    assert chunk_states(job) == [CHUNK_PENDING, CHUNK_PENDING]


async def test_only_the_named_chunks_go_again(api: Api, kind: str):
    job = await half_failed(api, kind)
    await api.retry(job.job_id, chunk_indexes=[3])
    assert chunk_states(await api.get(job.job_id)) == [CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_FAILED, CHUNK_PENDING]
    claimed = await api.claim(kind, 10)
    assert [one.chunk.index for one in claimed] == [3]
    await api.complete(*claimed)
    job = await api.get(job.job_id)
    assert (job.state, job.error.chunk_index) == (FAILED, 2)


async def test_the_history_says_which_chunks_went_again(api: Api, kind: str):
    job = await api.create(kind, item_count=100, chunk_size=1)
    await api.fail(*await api.claim(kind, 100), not_retryable=True)
    await api.retry(job.job_id, chunk_indexes=[2, 0, 1, 7, *range(20, 100, 2)])
    await api.cancel(job.job_id, force=True)
    await api.retry(job.job_id)
    events = (await api.list_events(job.job_id, order=EventOrder.EVENT_ORDER_POSITION_DESC)).events
    changes = [change for event in events for change in event.changes if change.type == ChangeType.CHANGE_TYPE_RETRIED]
    of_all, named = changes
    assert (of_all.chunk_count, len(of_all.chunk_ranges)) == (100, 0)
    runs = [(run.first_index, run.last_index, run.state) for run in named.chunk_ranges]
    assert runs[:3] == [(0, 2, CHUNK_PENDING), (7, 7, CHUNK_PENDING), (20, 20, CHUNK_PENDING)]
    assert (named.chunk_count, len(runs), runs[-1][1]) == (44, 20, 54)


async def test_a_lease_of_the_run_before_is_lost(api: Api, kind: str):
    job = await api.create(kind)
    claimed = await api.claim(kind)
    await api.cancel(job.job_id, force=True)
    await api.retry(job.job_id)
    [result] = await api.complete(*claimed)
    assert result.status == LEASE_LOST
    assert (await api.get(job.job_id)).state == QUEUED


@pytest.mark.parametrize("state", [QUEUED, RUNNING, CANCELLING])
async def test_a_job_that_has_not_ended_is_not_retried(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    with refused(FAILED_PRECONDITION, "JOB_NOT_ENDED") as output:
        await api.retry(job.job_id)
    assert output.metadata["job_id"] == job.job_id
    assert await api.get(job.job_id) == job


async def running(api: Api, kind: str, **fields: object) -> Job:
    """Return a RUNNING job of four chunks: 0 completed, 1 and 2 failed, 3 in work."""
    job = await api.create(kind, item_count=4, chunk_size=1, retry_policy={"max_attempts": 2}, **fields)
    claimed = await api.claim(kind, 4)
    await api.complete(claimed[0])
    await api.fail(*claimed[1:3], not_retryable=True)
    job = await api.get(job.job_id)
    assert (job.state, chunk_states(job)) == (RUNNING, [CHUNK_COMPLETED, CHUNK_FAILED, CHUNK_FAILED, CHUNK_PROCESSING])
    return job


async def test_named_failed_chunks_go_again_while_their_job_runs(api: Api, kind: str):
    before = await running(api, kind)
    answer = await api.retry(before.job_id, chunk_indexes=[2], reason="the page is there now")
    job = await api.get(before.job_id)
    assert chunk_states(job) == [CHUNK_COMPLETED, CHUNK_FAILED, CHUNK_PENDING, CHUNK_PROCESSING]
    assert (job.state, job.retry_count, job.start_time, job.progress) == (
        RUNNING,
        0,
        before.start_time,
        before.progress,
    )
    assert (job.chunks[2].attempt, job.chunks[2].max_attempts, job.chunks[2].HasField("end_time")) == (1, 3, False)
    assert [job.chunks[n] for n in (0, 1, 3)] == [before.chunks[n] for n in (0, 1, 3)]
    job.ClearField("chunks")
    job.ClearField("attempts")
    assert answer == job

    trail = (await api.list_events(job.job_id)).events
    [change] = trail[-1].changes
    assert (change.type, change.from_state, change.to_state) == (ChangeType.CHANGE_TYPE_RETRIED, RUNNING, RUNNING)
    assert change.reason == "the page is there now"


async def test_a_job_whose_failed_chunks_all_went_again_completes(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    first, second = await api.claim(kind, 2)
    await api.fail(first, not_retryable=True)
    await api.retry(job.job_id, chunk_indexes=[0])
    await api.complete(second, *await api.claim(kind, 2))
    job = await api.get(job.job_id)
    assert (job.state, job.HasField("error"), job.chunks_summary.completed) == (COMPLETED, False, 2)


async def test_the_error_of_a_job_is_that_of_a_chunk_that_is_still_failed(api: Api, kind: str):
    job = await running(api, kind)
    await api.retry(job.job_id, chunk_indexes=[1])
    await api.complete(*await api.claim(kind, 4))
    [last] = [one for one in (await api.get(job.job_id)).chunks if one.state == CHUNK_PROCESSING]
    assert last.index == 3
    await api.cancel(job.job_id, force=True)
    await api.retry(job.job_id, chunk_indexes=[3])
    await api.complete(*await api.claim(kind, 4))
    job = await api.get(job.job_id)
    assert (job.state, job.error.chunk_index) == (FAILED, 2)


async def test_a_retry_within_a_run_names_failed_chunks_only(api: Api, kind: str):
    job = await running(api, kind)
    for index, state in [(0, "COMPLETED"), (3, "PROCESSING")]:
        with refused(FAILED_PRECONDITION, "NOTHING_TO_RETRY") as output:
            await api.retry(job.job_id, chunk_indexes=[1, index])
        assert output.metadata == {"job_id": job.job_id, "chunk_index": str(index), "state": state}
    with refused(NOT_FOUND, "CHUNK_NOT_FOUND"):
        await api.retry(job.job_id, chunk_indexes=[1, 4])
    assert await api.get(job.job_id) == job
    await api.cancel(job.job_id)
    with refused(FAILED_PRECONDITION, "JOB_NOT_ENDED"):
        await api.retry(job.job_id, chunk_indexes=[1])


async def test_the_same_request_id_retries_chunks_once(api: Api, kind: str):
    job = await running(api, kind)
    request_id = uuid4().hex
    await api.retry(job.job_id, chunk_indexes=[1], request_id=request_id)
    await api.claim(kind)
    again = await api.retry(job.job_id, chunk_indexes=[1], request_id=request_id)
    assert (again.chunks_summary.failed, again.chunks_summary.processing) == (1, 2)


async def test_a_claim_that_waits_gets_a_retried_chunk(api: Api, kind: str):
    job = await running(api, kind)
    waiting = asyncio.create_task(api.claim(kind, wait=timedelta(seconds=BOUND)))
    await api.retry(job.job_id, chunk_indexes=[1])
    assert [one.chunk.index for one in await waiting] == [1]


async def test_a_completed_job_is_final(api: Api, kind: str):
    job = await api.job_in(COMPLETED, kind)
    with refused(FAILED_PRECONDITION, "JOB_ENDED"):
        await api.retry(job.job_id)
    assert await api.get(job.job_id) == job


async def test_a_retry_that_names_completed_chunks_only_has_nothing_to_retry(api: Api, kind: str):
    job = await half_failed(api, kind)
    with refused(FAILED_PRECONDITION, "NOTHING_TO_RETRY"):
        await api.retry(job.job_id, chunk_indexes=[0, 1])
    assert await api.get(job.job_id) == job


async def test_a_chunk_past_the_last_is_not_found(api: Api, kind: str):
    job = await half_failed(api, kind)
    with refused(NOT_FOUND, "CHUNK_NOT_FOUND") as output:
        await api.retry(job.job_id, chunk_indexes=[2, 4])
    assert output.metadata == {"job_id": job.job_id, "chunk_index": "4"}
    assert await api.get(job.job_id) == job


async def test_the_same_request_id_begins_one_run(api: Api, kind: str):
    job = await half_failed(api, kind)
    request_id = uuid4().hex
    await api.retry(job.job_id, request_id=request_id)
    await api.claim(kind)
    again = await api.retry(job.job_id, request_id=request_id)
    assert (again.retry_count, again.state) == (1, RUNNING)


async def test_the_same_request_id_with_other_content_is_refused(api: Api, kind: str):
    job, other = await half_failed(api, kind), await half_failed(api, kind)
    request_id = uuid4().hex
    await api.retry(job.job_id, request_id=request_id)
    for fields in ({"job_id": other.job_id}, {"job_id": job.job_id, "chunk_indexes": [3]}):
        with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
            await api.retry(request_id=request_id, **fields)
    assert await api.get(other.job_id) == other


async def test_a_request_id_of_a_creation_is_not_one_of_a_retry(api: Api, kind: str):
    request_id = uuid4().hex
    job = await api.create(kind, request_id=request_id)
    await api.cancel(job.job_id)
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await api.retry(job.job_id, request_id=request_id)


async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str):
    job = await half_failed(api, kind)
    for field, broken in [
        ("job_id", {"job_id": ""}),
        ("chunk_indexes", {"chunk_indexes": range(10_001)}),
        ("chunk_indexes[1]", {"chunk_indexes": [2, -1]}),
        ("request_id", {"request_id": "x" * 129}),
        ("reason", {"reason": "x" * 1_025}),
    ]:
        with invalid(field):
            await api.retry(**({"job_id": job.job_id} | broken))
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.retry(uuid4().hex)
    assert await api.get(job.job_id) == job


async def test_the_etag_is_that_of_the_revision_in_force(api: Api, kind: str):
    created = await api.create(kind)
    await api.cancel(created.job_id)
    request = RetryJobRequest(job_id=created.job_id, etag=created.etag, request_id=uuid4().hex)
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as output:
        await api.jobs.RetryJob(request)
    assert (await api.get(created.job_id)).state == CANCELLED
    request.etag = output.metadata["etag"]
    retried = (await api.jobs.RetryJob(request)).job
    assert (retried.state, retried.retry_count) == (QUEUED, 1)
    assert (await api.jobs.RetryJob(request)).job == retried, "a request that took effect is the same answer"
