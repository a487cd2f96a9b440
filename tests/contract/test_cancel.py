"""CancelJob: pending chunks stop at once, those in work when their workers let go, in time, or by force."""

from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.event_pb2 import CHANGE_TYPE_CANCEL_REQUESTED, CHANGE_TYPE_CHUNK_COMPLETED
from jobledger.v1.job_service_pb2 import CancelOutcome
from jobledger.v1.worker_service_pb2 import ChunkCompletion, CompleteChunksRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import (
    CANCEL_REQUESTED,
    CANCELLED,
    CANCELLING,
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    COMPLETED,
    FAILED,
    LEASE_LOST,
    OK,
    RUNNING,
    chunk_states,
    summary,
)

DONE = CancelOutcome.CANCEL_OUTCOME_CANCELLED
REQUESTED = CancelOutcome.CANCEL_OUTCOME_REQUESTED
ALREADY_ENDED = CancelOutcome.CANCEL_OUTCOME_ALREADY_ENDED


async def changes_of_state(api: Api, job_id: str) -> list[tuple[int, int, int]]:
    """Return the changes that left RUNNING or a later state for another one."""
    changes = [change for event in (await api.list_events(job_id)).events for change in event.changes]
    states = [(change.type, change.from_state, change.to_state) for change in changes]
    return [change for change in states if change[1] in (RUNNING, CANCELLING) and change[1] != change[2]]


async def test_a_queued_job_is_cancelled_at_once(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    answer = await api.cancel(job_id, reason="no longer wanted")
    job = await api.get(job_id)
    assert answer.outcome == DONE
    assert (job.state, job.cancel_reason) == (CANCELLED, "no longer wanted")
    assert summary(job) == {"total": 3, "cancelled": 3}
    assert job.HasField("end_time")
    assert all(chunk.HasField("end_time") for chunk in job.chunks)
    assert not await api.claim(kind)
    job.ClearField("chunks")
    job.ClearField("attempts")
    assert answer.job == job


async def test_a_job_in_work_is_asked_to_stop_and_its_pending_chunks_stop_at_once(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=5, chunk_size=1)).job_id
    claimed = await api.claim(kind, 2)
    await api.complete(claimed[0])
    assert (await api.cancel(job_id)).outcome == REQUESTED
    job = await api.get(job_id)
    assert job.state == CANCELLING
    assert summary(job) == {"total": 5, "processing": 1, "completed": 1, "cancelled": 3}
    assert not job.HasField("end_time")
    assert not await api.claim(kind)

    [result] = await api.release(claimed[1])
    assert (result.status, result.chunk_state) == (OK, CHUNK_CANCELLED)
    job = await api.get(job_id)
    assert job.state == CANCELLED
    assert chunk_states(job) == [CHUNK_COMPLETED] + [CHUNK_CANCELLED] * 4


async def test_a_job_whose_last_chunk_is_completed_in_time_is_completed_with_its_result(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    first, last = await api.claim(kind, 2)
    async with api.watch_job(job_id) as watch:
        assert (await api.cancel(job_id, reason="too slow")).outcome == REQUESTED
        await api.complete(first)
        completion = ChunkCompletion(lease_token=last.lease.token, result_uri="s3://b/x", job_output={"n": 1})
        [result] = (await api.work.CompleteChunks(CompleteChunksRequest(completions=[completion]))).results
        ended = (await watch.rest())[-1].job
    job = await api.get(job_id)
    assert (result.status, result.chunk_state) == (OK, CHUNK_COMPLETED)
    assert (ended.state, job.state, job.cancel_reason) == (COMPLETED, COMPLETED, "too slow")
    assert (job.progress.percent, job.result_uri, dict(job.output)) == (100, "s3://b/x", {"n": 1})
    again = await api.cancel(job_id)
    assert (again.outcome, again.job.state) == (ALREADY_ENDED, COMPLETED)
    assert await changes_of_state(api, job_id) == [
        (CHANGE_TYPE_CANCEL_REQUESTED, RUNNING, CANCELLING),
        (CHANGE_TYPE_CHUNK_COMPLETED, CANCELLING, COMPLETED),
    ]


async def test_a_job_of_which_a_chunk_was_stopped_can_be_retried_and_completed(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    [held] = await api.claim(kind)
    await api.cancel(job_id)
    await api.complete(held)
    assert (await api.get(job_id)).state == CANCELLED
    assert await changes_of_state(api, job_id) == [
        (CHANGE_TYPE_CANCEL_REQUESTED, RUNNING, CANCELLING),
        (CHANGE_TYPE_CHUNK_COMPLETED, CANCELLING, CANCELLED),
    ]
    await api.retry(job_id)
    await api.complete(*await api.claim(kind, 2))
    assert (await api.get(job_id)).state == COMPLETED


async def test_a_running_job_of_which_nothing_is_in_work_is_cancelled_at_once(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.release(*await api.claim(kind))
    assert (await api.get(job_id)).state == RUNNING
    assert (await api.cancel(job_id)).outcome == DONE
    assert (await api.get(job_id)).state == CANCELLED


async def test_force_takes_the_leases_away(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    claimed = await api.claim(kind, 2)
    assert (await api.cancel(job_id, force=True)).outcome == DONE
    job = await api.get(job_id)
    assert job.state == CANCELLED
    assert summary(job) == {"total": 3, "cancelled": 3}
    assert not any(chunk.HasField("lease_expire_time") for chunk in job.chunks)
    assert (await api.report(claimed[0], percent=50)).status == LEASE_LOST
    assert [result.status for result in await api.complete(*claimed)] == [LEASE_LOST, LEASE_LOST]
    assert (await api.get(job_id)).revision == job.revision


async def test_force_finishes_a_cancellation_that_was_only_requested(api: Api, kind: str):
    job = await api.job_in(CANCELLING, kind)
    assert (await api.cancel(job.job_id, force=True)).outcome == DONE
    assert (await api.get(job.job_id)).state == CANCELLED


async def test_the_grace_period_ends_the_leases(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    async with api.watch_job(job_id) as watch:
        assert (await api.cancel(job_id, grace_period=timedelta(milliseconds=100))).outcome == REQUESTED
        last = (await watch.rest())[-1]
    assert last.job.state == CANCELLED
    assert (await api.complete(claimed))[0].status == LEASE_LOST


async def test_the_shorter_of_two_grace_periods_holds(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.claim(kind)
    async with api.watch_job(job_id) as watch:
        await api.cancel(job_id, grace_period=timedelta(milliseconds=100))
        await api.cancel(job_id, grace_period=timedelta(hours=24))
        assert (await watch.rest())[-1].job.state == CANCELLED


async def test_cancelling_again_answers_requested(api: Api, kind: str):
    job = await api.job_in(CANCELLING, kind)
    answer = await api.cancel(job.job_id)
    assert (answer.outcome, answer.job.state) == (REQUESTED, CANCELLING)


@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
async def test_cancelling_an_ended_job_changes_nothing_and_reports_it(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    answer = await api.cancel(job.job_id, reason="too late", force=True)
    assert (answer.outcome, answer.job.state) == (ALREADY_ENDED, state)
    assert await api.get(job.job_id) == job


async def test_a_heartbeat_learns_of_the_cancellation_and_still_extends(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    assert (await api.report(claimed, percent=1)).status == OK
    await api.cancel(job_id)
    received = await api.report(claimed, percent=2)
    assert received.status == CANCEL_REQUESTED
    assert received.HasField("expire_time")
    assert (await api.get(job_id)).chunks[0].progress.percent == 2


async def test_a_worker_that_dies_while_cancelling_leaves_a_cancelled_job(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.claim(kind, lease_duration=timedelta(seconds=1))
    async with api.watch_job(job_id) as watch:
        await api.cancel(job_id, grace_period=timedelta(hours=1))
        assert (await watch.rest())[-1].job.state == CANCELLED


async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    with invalid("job_id"):
        await api.cancel("")
    with invalid("reason"):
        await api.cancel(job_id, reason="x" * 1_025)
    for grace in (timedelta(seconds=-1), timedelta(hours=24, seconds=1)):
        with invalid("grace_period"):
            await api.cancel(job_id, grace_period=grace)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.cancel(uuid4().hex)
    assert (await api.get(job_id)).revision == 1


async def test_the_etag_is_that_of_the_revision_in_force(api: Api, kind: str):
    job = await api.create(kind)
    await api.claim(kind)
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as output:
        await api.cancel(job.job_id, etag=job.etag)
    assert (await api.get(job.job_id)).state == RUNNING
    answer = await api.cancel(job.job_id, etag=output.metadata["etag"])
    assert answer.outcome == CancelOutcome.CANCEL_OUTCOME_REQUESTED
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await api.cancel(job.job_id, etag=output.metadata["etag"])
