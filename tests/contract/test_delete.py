"""DeleteJob: an ended job, or with force any, is gone with its chunks; and a job goes by itself when it expires."""

from datetime import UTC, datetime
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.job_service_pb2 import CreateJobRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, LEASE_LOST, QUEUED, RUNNING
from tests.support.watching import DELETED

NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
async def test_an_ended_job_is_gone_everywhere(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    await api.delete(job.job_id)
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(job.job_id)
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.list_chunks(job.job_id)
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.watch_job(job.job_id).message()
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 0
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.delete(job.job_id)


@pytest.mark.parametrize("state", [QUEUED, RUNNING, CANCELLING])
async def test_a_job_that_has_not_ended_is_kept_without_force(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_ENDED") as result:
        await api.delete(job.job_id)
    assert result.metadata["job_id"] == job.job_id
    assert await api.get(job.job_id) == job
    await api.delete(job.job_id, force=True)
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(job.job_id)


async def test_the_leases_and_the_pending_chunks_of_a_deleted_job_are_lost(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    [claimed] = await api.claim(kind)
    await api.delete(job.job_id, force=True)
    assert (await api.report(claimed, percent=5)).status == LEASE_LOST
    assert (await api.complete(claimed))[0].status == LEASE_LOST
    assert not await api.claim(kind)


async def test_an_old_etag_is_refused(api: Api, kind: str):
    created = await api.create(kind)
    await api.cancel(created.job_id)
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await api.delete(created.job_id, etag=created.etag)
    await api.delete(created.job_id, etag=(await api.get(created.job_id)).etag)
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(created.job_id)


async def test_the_name_of_a_deleted_job_is_free_again(api: Api, kind: str):
    job_id = uuid4().hex
    await api.create(kind, job_id=job_id, item_count=5, chunk_size=1)
    await api.cancel(job_id)
    await api.delete(job_id)
    answer = await api.jobs.CreateJob(CreateJobRequest(kind=kind, job_id=job_id, priority=1))
    assert (answer.created, answer.job.state, answer.job.priority) == (True, QUEUED, 1)
    assert len((await api.get(job_id)).chunks) == 1


async def test_a_job_that_expired_is_deleted_once_it_has_ended(api: Api, kind: str):
    async with api.watch_jobs(kind) as watch:
        await watch.bookmark()
        past = datetime(2020, 1, 1, tzinfo=UTC)
        expired = await api.create(kind, expire_time=past)
        kept = await api.create(kind, expire_time=datetime(2100, 1, 1, tzinfo=UTC))
        for job in (kept, expired):
            await api.cancel(job.job_id)
        gone = await watch.until(lambda message: message.type == DELETED)
    assert gone.job.job_id == expired.job_id
    assert gone.event.changes[0].actor == "jobledger"
    assert (await api.get(kept.job_id)).state == CANCELLED


async def test_a_request_without_job_id_is_refused(api: Api):
    with invalid("job_id"):
        await api.delete("")
