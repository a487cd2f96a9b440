"""ReleaseChunks: what is given back goes again at once, and the attempt is not counted."""

import pytest

from tests.support.api import Api
from tests.support.errors import assert_entry_refused
from tests.support.states import CHUNK_PENDING, LEASE_LOST, OK, REFUSED, RUNNING, summary


async def test_a_released_chunk_is_retried_at_once_with_the_attempt_not_counted(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy={"max_attempts": 1})).job_id
    for _ in range(3):
        [claimed] = await api.claim(kind)
        assert claimed.chunk.attempt == 1
        [result] = await api.release(claimed)
        assert (result.status, result.chunk_state) == (OK, CHUNK_PENDING)
        assert not result.HasField("next_attempt_time")
    job = await api.get(job_id)
    chunk = job.chunks[0]
    assert (job.state, chunk.attempt) == (RUNNING, 0)
    assert summary(job) == {"total": 1, "pending": 1}
    for absent in ("error", "next_attempt_time", "lease_expire_time", "end_time"):
        assert not chunk.HasField(absent)


async def test_many_go_back_together_and_a_lost_one_harms_none(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    claimed = await api.claim(kind, 3)
    await api.complete(claimed[1])
    results = await api.release(*claimed)
    assert [result.status for result in results] == [OK, LEASE_LOST, OK]
    assert summary(await api.get(job_id)) == {"total": 3, "completed": 1, "pending": 2}


async def test_releasing_again_under_the_same_lease_answers_ok_and_changes_nothing(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.release(claimed)
    job = await api.get(job_id)
    [again] = await api.release(claimed)
    assert (again.status, again.chunk_state) == (OK, CHUNK_PENDING)
    assert await api.get(job_id) == job


@pytest.mark.parametrize("late", ["complete", "fail"])
async def test_what_comes_after_the_release_is_refused(api: Api, kind: str, late: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.release(claimed)
    job = await api.get(job_id)
    assert (await getattr(api, late)(claimed))[0].status == LEASE_LOST
    assert (await api.report(claimed, percent=1)).status == LEASE_LOST
    assert await api.get(job_id) == job


async def test_a_reason_that_is_too_long_is_refused(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    [result] = await api.release(claimed, reason="x" * 1_025)
    assert result.status == REFUSED
    assert_entry_refused(result.error, "reason")
    assert (await api.get(job_id)).revision == 2
