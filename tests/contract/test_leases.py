"""Leases: a worker that falls silent loses its chunk as a failed attempt, and its token is worth nothing after."""

from datetime import timedelta

import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ClaimedChunk

from tests.support.api import Api
from tests.support.states import CHUNK_PENDING, COMPLETED, FAILED, LEASE_LOST, OK, RUNNING

LEASE_EXPIRED = ChangeType.CHANGE_TYPE_LEASE_EXPIRED
SECOND = timedelta(seconds=1)
AT_ONCE = {"initial_backoff": timedelta(0)}


async def expired(api: Api, kind: str, lease: timedelta = SECOND, **fields: object) -> tuple[Job, ClaimedChunk]:
    """Return a job of which one lease has expired, and the chunk under that lease."""
    job_id = (await api.create(kind, **fields)).job_id
    async with api.watch_job(job_id) as watch:
        await watch.message()
        [claimed] = await api.claim(kind, worker="silent", lease_duration=lease)
        await watch.until(lambda message: any(one.type == LEASE_EXPIRED for one in message.event.changes))
    return await api.get(job_id), claimed


async def test_an_expired_lease_is_a_failed_attempt(api: Api, kind: str):
    job, claimed = await expired(api, kind, retry_policy={"initial_backoff": timedelta(hours=1), "jitter": 0})
    chunk = job.chunks[0]
    assert job.state == RUNNING
    assert (chunk.state, chunk.attempt, chunk.error.code) == (CHUNK_PENDING, 1, "LEASE_EXPIRED")
    assert chunk.next_attempt_time.ToDatetime() - job.update_time.ToDatetime() == timedelta(hours=1)
    assert not chunk.HasField("lease_expire_time")
    assert job.update_time.ToNanoseconds() >= claimed.lease.expire_time.ToNanoseconds()


async def test_the_service_itself_is_the_actor(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    async with api.watch_job(job_id) as watch:
        await watch.message()
        await api.claim(kind, lease_duration=SECOND)
        message = await watch.until(lambda message: message.event.changes[-1:] and message.job.revision == 3)
    [change] = message.event.changes
    assert (change.type, change.actor, change.chunk_index) == (LEASE_EXPIRED, "jobledger", 0)


async def test_a_lease_that_expires_on_the_last_attempt_fails_the_job(api: Api, kind: str):
    job, _ = await expired(api, kind, retry_policy={"max_attempts": 1})
    assert (job.state, job.error.code, job.error.chunk_index) == (FAILED, "LEASE_EXPIRED", 0)


@pytest.mark.parametrize("late", ["complete", "fail", "release"])
async def test_a_stale_token_changes_nothing(api: Api, kind: str, late: str):
    job, stale = await expired(api, kind, retry_policy=AT_ONCE)
    [current] = await api.claim(kind, worker="lively")
    assert current.lease.token != stale.lease.token
    assert current.chunk.attempt == 2
    job = await api.get(job.job_id)
    assert (await getattr(api, late)(stale))[0].status == LEASE_LOST
    assert (await api.report(stale, percent=99, message="still here")).status == LEASE_LOST
    assert await api.get(job.job_id) == job
    assert (await api.complete(current))[0].status == OK
    assert (await getattr(api, late)(stale))[0].status == LEASE_LOST
    job = await api.get(job.job_id)
    assert (job.state, job.chunks[0].worker) == (COMPLETED, "lively")


async def test_heartbeats_keep_a_lease_for_as_long_as_they_come(api: Api, kind: str):
    for lease in (SECOND, 10 * SECOND, 60 * SECOND):  # the first that is not over before a slow machine beats
        kinds = f"{kind}.kept{lease.seconds}", f"{kind}.silent{lease.seconds}"
        job_id = (await api.create(kinds[0])).job_id
        [kept] = await api.claim(kinds[0], lease_duration=lease)
        if (await api.report(kept, percent=1, lease_duration=60 * SECOND)).status == OK:
            break
    # Another lease, taken later and as short as the first, says when the first would have expired.
    await expired(api, kinds[1], lease)
    assert (await api.report(kept, percent=2)).status == OK
    assert (await api.get(job_id)).chunks[0].attempt == 1


async def test_only_the_silent_worker_loses_its_chunk(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    lively = await api.claim(kind, 2)
    async with api.watch_job(job_id) as watch:
        await watch.message()
        await api.claim(kind, lease_duration=SECOND)
        message = await watch.until(lambda message: any(one.type == LEASE_EXPIRED for one in message.event.changes))
    assert [chunk.index for chunk in message.chunks] == [2]
    assert {result.status for result in await api.complete(*lively)} == {OK}
