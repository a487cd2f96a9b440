"""ClaimChunks: the most urgent first, each chunk to one worker, and those who wait are woken."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ClaimChunksRequest, ClaimedChunk

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.states import CHUNK_PENDING, CHUNK_PROCESSING, COMPLETED, RUNNING, chunk_states, summary

MINUTE = timedelta(minutes=1)


async def test_a_claimed_chunk_comes_with_all_that_its_worker_needs(api: Api, kind: str):
    job = await api.create(
        kind,
        input={"bucket": "photos"},
        labels={"team": "a"},
        stages=[{"name": "fetch", "weight": 2}],
        chunks=[{"input": {"page": 1}}, {"input": {"page": 2}}],
    )
    first, second = await api.claim(kind, 5, worker="anna", lease_duration=timedelta(minutes=10))
    assert (first.job_id, first.kind, dict(first.labels)) == (job.job_id, kind, {"team": "a"})
    assert [(stage.name, stage.weight) for stage in first.stages] == [("fetch", 2)]
    assert dict(first.job_input) == {"bucket": "photos"}
    assert [dict(one.chunk.input) for one in (first, second)] == [{"page": 1}, {"page": 2}]
    assert first.lease.token != second.lease.token
    chunk = first.chunk
    assert (chunk.state, chunk.attempt, chunk.worker) == (CHUNK_PROCESSING, 1, "anna")
    assert chunk.lease_expire_time == first.lease.expire_time
    assert first.lease.expire_time.ToDatetime() - chunk.start_time.ToDatetime() == timedelta(minutes=10)
    stored = await api.get(job.job_id)
    assert list(stored.chunks) == [first.chunk, second.chunk]
    assert (stored.state, stored.start_time) == (RUNNING, chunk.start_time)


async def test_a_job_of_which_one_chunk_is_claimed_is_running(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    await api.claim(kind)
    job = await api.get(job_id)
    assert job.state == RUNNING
    assert chunk_states(job) == [CHUNK_PROCESSING, CHUNK_PENDING, CHUNK_PENDING]
    assert summary(job) == {"total": 3, "processing": 1, "pending": 2}


async def test_a_lease_lasts_sixty_seconds_by_default(api: Api, kind: str):
    await api.create(kind)
    [claimed] = await api.claim(kind)
    assert claimed.lease.expire_time.ToDatetime() - claimed.chunk.start_time.ToDatetime() == MINUTE


async def test_the_most_urgent_come_first_and_the_oldest_within_a_priority(api: Api, kind: str):
    jobs = {}
    for name, priority in (("a", 5), ("b", 5), ("c", 10), ("d", 0), ("e", 10)):
        jobs[(await api.create(kind, priority=priority, item_count=2, chunk_size=1)).job_id] = name
    claimed = await api.claim(kind, 3) + await api.claim(kind, 1_000)
    assert [(jobs[one.job_id], one.chunk.index) for one in claimed] == [
        (name, index) for name in "ceabd" for index in (0, 1)
    ]


async def test_zero_chunks_are_one(api: Api, kind: str):
    await api.create(kind, item_count=3, chunk_size=1)
    assert len(await api.claim(kind, 0)) == 1


async def test_only_the_kinds_that_were_asked_for(api: Api, kind: str):
    other = fresh_kind()
    mine, theirs = await api.create(kind), await api.create(other)
    assert not await api.claim(fresh_kind())
    request = ClaimChunksRequest(kinds=[kind, other], max_chunks=5, worker="w")
    found = (await api.work.ClaimChunks(request)).chunks
    assert {(one.job_id, one.kind) for one in found} == {(mine.job_id, kind), (theirs.job_id, other)}


async def claim_of(api: Api, *job_ids: str, **fields: object) -> list[ClaimedChunk]:
    return list((await api.work.ClaimChunks(ClaimChunksRequest(job_ids=job_ids, worker="w", **fields))).chunks)


async def test_the_next_chunks_of_one_job_pass_more_urgent_and_older_ones(api: Api, kind: str):
    older = await api.create(kind, item_count=2, chunk_size=1)
    urgent = await api.create(kind, priority=10)
    mine = await api.create(kind, priority=0, item_count=3, chunk_size=1)
    assert [one.chunk.index for one in await claim_of(api, mine.job_id, max_chunks=2)] == [0, 1]
    [last] = await claim_of(api, mine.job_id, max_chunks=10)
    assert (last.job_id, last.chunk.index) == (mine.job_id, 2)
    assert await claim_of(api, mine.job_id) == []
    assert [one.job_id for one in await api.claim(kind, 10)] == [urgent.job_id, older.job_id, older.job_id]


async def test_of_several_jobs_the_most_urgent_comes_first(api: Api, kind: str):
    first, second = [await api.create(kind, item_count=2, chunk_size=1) for _ in range(2)]
    urgent = await api.create(fresh_kind(), priority=9)
    await api.create(kind, priority=10)
    jobs = [second.job_id, urgent.job_id, first.job_id, first.job_id]
    found = await claim_of(api, *jobs, max_chunks=10)
    assert [one.job_id for one in found] == [urgent.job_id, *[first.job_id] * 2, *[second.job_id] * 2]


async def test_a_job_keeps_its_claims_after_a_new_priority_and_a_retry(api: Api, kind: str):
    job = await api.create(kind, priority=3)
    await api.update(job.job_id, update_mask={"paths": ["priority"]}, priority=7)
    [claimed] = await claim_of(api, job.job_id)
    await api.fail(claimed, not_retryable=True)
    assert await claim_of(api, job.job_id) == []
    await api.retry(job.job_id)
    [again] = await claim_of(api, job.job_id)
    assert again.chunk.attempt == 2


async def test_jobs_that_have_nothing_to_claim(api: Api, kind: str):
    ended = await api.job_in(COMPLETED, kind)
    assert await claim_of(api, "never-created", ended.job_id) == []


@pytest.mark.guarantee("3b.5")
async def test_one_who_waits_for_a_job_is_woken_by_its_chunks_alone(api: Api, kind: str):
    job = await api.create(kind, retry_policy={"initial_backoff": timedelta(milliseconds=300), "jitter": 0})
    [held] = await api.claim(kind)
    waiting = asyncio.create_task(claim_of(api, job.job_id, wait=MINUTE))
    other = await api.create(kind)
    await api.release(held)
    [released] = await waiting
    waiting = asyncio.create_task(claim_of(api, job.job_id, wait=MINUTE))
    await api.fail(released)
    [retried] = await waiting
    assert [one.job_id for one in (released, retried)] == [job.job_id] * 2
    assert [one.job_id for one in await api.claim(kind, 10)] == [other.job_id]


async def test_one_who_waits_for_a_job_is_woken_by_its_creation(api: Api, kind: str):
    waiting = asyncio.create_task(claim_of(api, f"{kind}-later", wait=MINUTE))
    await api.create(fresh_kind())
    job = await api.create(kind, job_id=f"{kind}-later")
    [claimed] = await waiting
    assert claimed.job_id == job.job_id


async def test_many_workers_at_once_get_each_chunk_once(api: Api, kind: str):
    await asyncio.gather(*(api.create(kind, item_count=20, chunk_size=1) for _ in range(10)))
    answers = await asyncio.gather(*(api.claim(kind, 7, worker=f"w{n}") for n in range(40)))
    claimed = [one for answer in answers for one in answer]
    assert len({(one.job_id, one.chunk.index) for one in claimed}) == len(claimed) == 200
    assert len({one.lease.token for one in claimed}) == 200


async def test_without_work_it_answers_with_none_after_its_wait(api: Api, kind: str):
    assert await api.claim(kind) == []
    assert await api.claim(kind, wait=timedelta(milliseconds=50)) == []


async def test_those_who_wait_are_woken_by_a_new_job(api: Api, kind: str):
    waiting = [asyncio.create_task(api.claim(kind, wait=MINUTE, worker=f"w{n}")) for n in range(3)]
    await api.claim(kind)  # a round trip, so that the others are most likely waiting
    job = await api.create(kind, item_count=3, chunk_size=1)
    answers = await asyncio.gather(*waiting)
    assert {(one.job_id, one.chunk.index) for answer in answers for one in answer} == {
        (job.job_id, n) for n in range(3)
    }


async def test_one_who_waits_is_woken_by_a_released_chunk(api: Api, kind: str):
    await api.create(kind)
    [held] = await api.claim(kind)
    waiting = asyncio.create_task(api.claim(kind, wait=MINUTE))
    await api.release(held)
    [claimed] = await waiting
    assert claimed.chunk.attempt == 1


async def test_one_who_waits_is_woken_when_a_backoff_ends(api: Api, kind: str):
    policy = {"initial_backoff": timedelta(milliseconds=300), "jitter": 0}
    await api.create(kind, retry_policy=policy)
    [result] = await api.fail(*await api.claim(kind))
    assert result.HasField("next_attempt_time")
    [claimed] = await api.claim(kind, wait=MINUTE)
    assert claimed.chunk.attempt == 2
    assert claimed.chunk.start_time.ToNanoseconds() >= result.next_attempt_time.ToNanoseconds()


async def test_one_who_left_takes_nothing(api: Api, kind: str):
    request = ClaimChunksRequest(kinds=[kind], worker="gone", wait=MINUTE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.work.ClaimChunks(request, timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await api.create(kind)
    [claimed] = await api.claim(kind, worker="here", wait=MINUTE)  # the server may hear late that the other has left
    assert (claimed.chunk.worker, claimed.chunk.attempt) == ("here", 1)


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("kinds", {"kinds": []}),
        ("kinds", {"kinds": [f"k{n}" for n in range(101)]}),
        ("kinds[1]", {"kinds": ["a", "Not A Kind"]}),
        ("job_ids", {"kinds": [], "job_ids": [f"j{n}" for n in range(101)]}),
        ("job_ids", {"job_ids": ["with-kinds"]}),
        ("job_ids[1]", {"kinds": [], "job_ids": ["a", "not a job"]}),
        ("max_chunks", {"max_chunks": -1}),
        ("max_chunks", {"max_chunks": 1_001}),
        ("worker", {"worker": ""}),
        ("worker", {"worker": "w" * 257}),
        ("lease_duration", {"lease_duration": timedelta(milliseconds=999)}),
        ("lease_duration", {"lease_duration": timedelta(hours=24, seconds=1)}),
        ("wait", {"wait": timedelta(seconds=-1)}),
        ("wait", {"wait": timedelta(minutes=5, seconds=1)}),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str, field: str, broken: dict[str, object]):
    job_id = (await api.create(kind)).job_id
    with invalid(field):
        await api.work.ClaimChunks(ClaimChunksRequest(**({"kinds": [kind], "worker": "w"} | broken)))
    assert (await api.get(job_id)).revision == 1
