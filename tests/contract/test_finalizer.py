"""The finalizer: a job's last chunk, which no worker gets before all others are COMPLETED."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from grpc import StatusCode
from jobledger.v1.chunk_pb2 import HOLD_REASON_FINALIZER, Chunk, FinalizerSpec
from jobledger.v1.job_pb2 import FAILURE_POLICY_FAIL_FAST, FAILURE_POLICY_RUN_ALL, Job
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest, WatchMode
from jobledger.v1.stats_pb2 import HeldChunks
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimChunkRequest,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksRequest,
    HeartbeatRequest,
    LeaseReport,
)

from tests.support.api import Api
from tests.support.bounds import within
from tests.support.errors import invalid, refused
from tests.support.limits import kind_scope, set_limit
from tests.support.server import Server
from tests.support.states import (
    CANCELLED,
    CANCELLING,
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    QUEUED,
    RUNNING,
    chunk_states,
    summary,
)

ONCE = {"max_attempts": 1}
WAITS = [HOLD_REASON_FINALIZER]
HELD = [HeldChunks(reason=HOLD_REASON_FINALIZER, chunk_count=1)]


async def create(api: Api, kind: str, chunks: int = 2, **fields: object) -> Job:
    described: dict[str, object] = {"finalizer": {}, "retry_policy": ONCE}
    return await api.create(kind, chunks=[{} for _ in range(chunks)], **described | fields)


async def finalizer(api: Api, job_id: str) -> Chunk:
    return (await api.get(job_id)).chunks[-1]


async def states(api: Api, job: Job) -> list[int]:
    found = await api.get(job.job_id)
    return [found.state, *chunk_states(found)]


async def held(api: Api, kind: str) -> list[HeldChunks]:
    return list((await api.stats(kinds=[kind])).total.now.chunks_held)


async def complete_and_claim(api: Api, *claimed: ClaimedChunk, **claim: object) -> list[ClaimedChunk]:
    request = CompleteChunksRequest(
        completions=[ChunkCompletion(lease_token=one.lease.token) for one in claimed],
        claim=ClaimChunksRequest(worker="w", **claim),
    )
    return list((await api.work.CompleteChunks(request)).claimed)


@pytest.mark.guarantee("3c.10")
async def test_the_finalizer_is_claimable_when_all_others_are_completed(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]
):
    other = connect(replicas[-1])
    job = await create(api, kind, 3, finalizer={"input": {"join": "all"}})
    assert summary(job) == {"total": 4, "pending": 4}
    last = await finalizer(other, job.job_id)
    assert (last.index, last.finalizer, list(last.holds), last.HasField("first_item")) == (3, True, WAITS, False)
    assert await held(other, kind) == HELD
    first, second, third = await api.claim(kind, 9)
    assert not any(one.chunk.finalizer for one in (first, second, third))
    await api.complete(first, third)
    assert (await other.claim(kind, 9), await held(api, kind)) == ([], HELD)
    await api.complete(second)
    assert (list((await finalizer(other, job.job_id)).holds), await held(api, kind)) == ([], [])
    [claimed] = await other.claim(kind, 9)
    assert (claimed.chunk.index, claimed.chunk.finalizer, claimed.chunk.input["join"]) == (3, True, "all")
    assert (await api.get(job.job_id)).state == RUNNING
    await other.complete(claimed)
    assert summary(await api.get(job.job_id)) == {"total": 4, "completed": 4}
    assert (await api.get(job.job_id)).state == COMPLETED


@pytest.mark.guarantee("3c.10")
async def test_the_finalizer_is_not_claimed_when_another_has_failed(api: Api, kind: str):
    job = await create(api, kind, 3)
    first, second, third = await api.claim(kind, 9)
    await api.fail(first)
    await api.complete(second)
    assert await api.claim(kind, 9) == []
    assert await complete_and_claim(api, third, kinds=[kind]) == []
    assert await states(api, job) == [FAILED, CHUNK_FAILED, CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_CANCELLED]
    assert await api.claim(kind, 9) == []


@pytest.mark.guarantee("3b.5")
async def test_the_last_completion_wakes_a_claim_that_waits_on_any_replica(
    kind: str, connect: Callable[[Server], Api], woken: list[Server]
):
    api = connect(woken[0])
    job = await create(api, kind, 1)
    [only] = await api.claim(kind)
    waiting = asyncio.create_task(connect(woken[-1]).claim(kind, wait=timedelta(minutes=5)))
    await api.complete(only)
    [claimed] = await within(waiting)
    assert (claimed.job_id, claimed.chunk.finalizer) == (job.job_id, True)


async def test_the_event_of_the_last_completion_has_the_finalizer_without_its_hold(api: Api, kind: str):
    job = await create(api, kind, 1)
    [only] = await api.claim(kind)
    async with api.watch_job(job.job_id, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        assert (await watch.change()).job.revision == 2
        await api.complete(only)
        completion = await watch.change()
    [lifted] = [chunk for chunk in completion.chunks if chunk.index == 1]
    assert (completion.event.revision, lifted.state, lifted.finalizer, list(lifted.holds)) == (
        3,
        CHUNK_PENDING,
        True,
        [],
    )


@pytest.mark.parametrize("by", ["kinds", "job_ids"])
async def test_the_call_that_completes_the_last_other_chunk_can_claim_it(api: Api, kind: str, by: str):
    job = await create(api, kind)
    first, second = await api.claim(kind, 9)
    claim = {"kinds": [kind]} if by == "kinds" else {"job_ids": [job.job_id]}
    assert await complete_and_claim(api, first, max_chunks=5, **claim) == []
    [claimed] = await complete_and_claim(api, second, max_chunks=5, **claim)
    assert (claimed.job_id, claimed.chunk.index, claimed.chunk.finalizer) == (job.job_id, 2, True)
    revision = (await api.get(job.job_id)).revision
    assert (await complete_and_claim(api, claimed, **claim), (await api.get(job.job_id)).revision) == ([], revision + 1)


async def test_the_finalizer_takes_its_turn_among_the_next_chunks(api: Api, kind: str):
    job = await create(api, kind, 1, priority=5)
    [only] = await api.claim(kind)
    low, high = await api.create(kind, priority=1), await api.create(kind, priority=9)
    claimed = await complete_and_claim(api, only, kinds=[kind], max_chunks=2)
    assert [one.job_id for one in claimed] == [high.job_id, job.job_id]
    assert [one.job_id for one in await api.claim(kind, 9)] == [low.job_id]


async def test_a_call_for_other_kinds_does_not_claim_it(api: Api, kind: str):
    await create(api, kind, 1)
    [only] = await api.claim(kind)
    assert await complete_and_claim(api, only, kinds=[f"{kind}.other"]) == []
    assert [one.chunk.finalizer for one in await api.claim(kind)] == [True]


async def test_with_run_all_it_is_cancelled_with_the_end_of_the_last_other_chunk(api: Api, kind: str):
    job = await create(api, kind, failure_policy=FAILURE_POLICY_RUN_ALL)
    first, second = await api.claim(kind, 9)
    await api.fail(first)
    assert await states(api, job) == [RUNNING, CHUNK_FAILED, CHUNK_PROCESSING, CHUNK_PENDING]
    await api.complete(second)
    assert await states(api, job) == [FAILED, CHUNK_FAILED, CHUNK_COMPLETED, CHUNK_CANCELLED]
    found = await api.get(job.job_id)
    assert (found.error.chunk_index, list(found.chunks[-1].holds), await held(api, kind)) == (0, [], [])
    assert (await api.retry(job.job_id)).state == QUEUED
    assert (list((await finalizer(api, job.job_id)).holds), await held(api, kind)) == (WAITS, HELD)
    await api.complete(*await api.claim(kind, 9))
    await api.complete(*await api.claim(kind, 9))
    assert (await api.get(job.job_id)).state == COMPLETED


async def test_with_fail_fast_it_is_cancelled_at_once(api: Api, kind: str):
    job = await create(api, kind, failure_policy=FAILURE_POLICY_FAIL_FAST)
    await api.fail(*await api.claim(kind))
    assert await states(api, job) == [FAILED, CHUNK_FAILED, CHUNK_CANCELLED, CHUNK_CANCELLED]


@pytest.mark.parametrize("chunks", [2, 60])
async def test_it_is_cancelled_with_its_job_and_held_again_after_a_retry(api: Api, kind: str, chunks: int):
    job = await create(api, kind, chunks)
    await api.complete(*await api.claim(kind, chunks - 1))
    [last] = await api.claim(kind)
    assert (await api.cancel(job.job_id)).job.state == CANCELLING
    assert (await finalizer(api, job.job_id)).state == CHUNK_CANCELLED
    await api.release(last)
    assert (await api.get(job.job_id)).state == CANCELLED
    await api.retry(job.job_id)
    assert (list((await finalizer(api, job.job_id)).holds), await held(api, kind)) == (WAITS, HELD)
    [again] = await api.claim(kind, 9)
    await api.complete(again)
    assert [one.chunk.finalizer for one in await api.claim(kind, 9)] == [True]


@pytest.mark.guarantee("3c.10")
async def test_a_failed_finalizer_follows_the_retry_policy_and_then_a_retry_of_the_job(api: Api, kind: str):
    job = await create(api, kind, retry_policy={"max_attempts": 2, "initial_backoff": timedelta(0)})
    await api.complete(*await api.claim(kind, 9))
    await api.fail(*await api.claim(kind))
    assert await states(api, job) == [RUNNING, CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_PENDING]
    await api.fail(*await api.claim(kind))
    assert await states(api, job) == [FAILED, CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_FAILED]
    assert (await api.get(job.job_id)).error.chunk_index == 2
    await api.retry(job.job_id, chunk_indexes=[2])
    [claimed] = await api.claim(kind, 9)
    assert (claimed.chunk.finalizer, claimed.chunk.attempt) == (True, 3)
    assert (await api.cancel(job.job_id, force=True)).job.state == CANCELLED
    assert await states(api, job) == [CANCELLED, CHUNK_COMPLETED, CHUNK_COMPLETED, CHUNK_CANCELLED]


async def test_a_retry_of_named_chunks_brings_it_back_when_no_other_is_left_out(api: Api, kind: str):
    job = await create(api, kind)
    await api.fail(*await api.claim(kind, 9))
    with refused(StatusCode.FAILED_PRECONDITION, "NOTHING_TO_RETRY"):
        await api.retry(job.job_id, chunk_indexes=[0, 2])
    await api.retry(job.job_id, chunk_indexes=[1])
    assert await states(api, job) == [QUEUED, CHUNK_FAILED, CHUNK_PENDING, CHUNK_CANCELLED]
    await api.complete(*await api.claim(kind, 9))
    assert await states(api, job) == [FAILED, CHUNK_FAILED, CHUNK_COMPLETED, CHUNK_CANCELLED]
    await api.retry(job.job_id, chunk_indexes=[0])
    assert await states(api, job) == [QUEUED, CHUNK_PENDING, CHUNK_COMPLETED, CHUNK_PENDING]
    [claimed] = await complete_and_claim(api, *await api.claim(kind, 9), kinds=[kind])
    await api.complete(claimed)
    assert (await api.get(job.job_id)).state == COMPLETED


async def test_a_claim_by_its_index_is_refused_until_its_turn(api: Api, kind: str):
    job = await create(api, kind, 1)
    request = ClaimChunkRequest(job_id=job.job_id, chunk_index=1, worker="w")
    with refused(StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await api.work.ClaimChunk(request)
    await api.complete(*await api.claim(kind))
    assert (await api.work.ClaimChunk(request)).chunk.chunk.finalizer


async def test_it_waits_for_a_slot_too_and_follows_a_new_priority(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    running = await api.create(kind)
    job = await create(api, kind, 1)
    await api.update(job.job_id, priority=9, update_mask={"paths": ["priority"]})
    await api.cancel(running.job_id)
    [only] = await api.claim(kind, 9, wait=timedelta(seconds=30))
    assert list((await finalizer(api, job.job_id)).holds) == WAITS
    rival = await api.create(f"{kind}.rival", priority=8)
    await api.complete(only)
    request = ClaimChunksRequest(kinds=[kind, f"{kind}.rival"], max_chunks=2, worker="w")
    claimed = (await api.work.ClaimChunks(request)).chunks
    assert [one.job_id for one in claimed] == [job.job_id, rival.job_id]


@pytest.mark.parametrize(
    ("weight", "before", "half"), [(None, 75.0, 87.5), (1.5, 200 / 3, 250 / 3), (0.25, 300 / 3.25, 312.5 / 3.25)]
)
async def test_it_counts_in_progress_with_its_weight(
    api: Api, kind: str, weight: float | None, before: float, half: float
):
    job = await api.create(kind, item_count=300, chunk_size=100, finalizer=FinalizerSpec(weight=weight))
    await api.complete(*await api.claim(kind, 9))
    assert (await api.get(job.job_id)).progress.percent == pytest.approx(before)
    [last] = await api.claim(kind)
    report = LeaseReport(lease_token=last.lease.token, progress={"percent": 50})
    await api.work.Heartbeat(HeartbeatRequest(reports=[report]))
    found = await api.get(job.job_id)
    assert (found.progress.percent, found.progress.items_completed) == (pytest.approx(half), 300)
    await api.cancel(job.job_id, force=True)
    retried = await api.retry(job.job_id)
    assert retried.progress.percent == pytest.approx(before)
    await api.complete(*await api.claim(kind))
    assert (await api.get(job.job_id)).progress.percent == 100


async def test_it_is_part_of_what_makes_a_job_the_same(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, request_id=kind, item_count=2, finalizer={"input": {"a": 1}})
    first = await api.jobs.CreateJob(request)
    assert not (await api.jobs.CreateJob(request)).created
    for changed in (
        {"finalizer": {"input": {"a": 2}}},
        {"finalizer": {"input": {"a": 1}, "weight": 2}},
        {"finalizer": None},
    ):
        other = CreateJobRequest(kind=kind, request_id=kind, item_count=2, **changed)
        with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
            await api.jobs.CreateJob(other)
    assert first.created


async def test_bad_finalizers_are_refused(api: Api, kind: str):
    for weight in 0, -1, 1_000.5, float("nan"):
        with invalid("finalizer.weight"):
            await api.create(kind, item_count=2, finalizer=FinalizerSpec(weight=weight))
    with invalid("finalizer"):
        await api.create(kind, finalizer={})
    with invalid("finalizer.input"):
        await api.create(kind, item_count=2, finalizer={"input": {"text": "x" * 65_536}})
    with invalid("chunk_size"):
        await api.create(kind, item_count=10_000, chunk_size=1, finalizer={})


async def test_the_most_chunks_are_a_finalizer_and_9_999_others(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, item_count=9_999, chunk_size=1, finalizer={}, validate_only=True)
    assert (await api.jobs.CreateJob(request)).job.chunks_summary.total == 10_000
    with invalid("requests"):
        await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=[request, CreateJobRequest(kind=kind)]))
    small = CreateJobRequest(kind=kind, item_count=2, finalizer={})
    [result] = (await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=[small]))).results
    assert result.job.chunks_summary.total == 2
    listed = (await api.list_jobs(filter={"kinds": [kind]})).jobs
    assert [(job.job_id, list(job.holds)) for job in listed] == [(result.job.job_id, [])]


async def test_it_is_held_again_when_one_statement_brings_all_chunks_back(api: Api, kind: str):
    job = await create(api, kind, 60)
    await api.cancel(job.job_id)
    await api.retry(job.job_id)
    assert (list((await finalizer(api, job.job_id)).holds), await held(api, kind)) == (WAITS, HELD)
    claimed = await api.claim(kind, 99)
    assert [one.chunk.index for one in claimed] == [*range(60)]
    [last] = await complete_and_claim(api, *claimed, kinds=[kind])
    assert await api.cancel(job.job_id, force=True)
    retried = await api.retry(job.job_id)
    assert (last.chunk.index, summary(retried)) == (60, {"total": 61, "completed": 60, "pending": 1})
    assert [one.chunk.finalizer for one in await api.claim(kind, 9)] == [True]


async def test_items_out_of_range_beside_a_finalizer_are_refused_by_name(api: Api, kind: str):
    for count in (2**53 + 1, 2**63 - 1):
        with invalid("chunks[0].item_count", "chunks"):
            await api.create(kind, chunks=[{"item_count": count}], finalizer={"weight": 1_000})
