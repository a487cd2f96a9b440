"""Paused kinds: claims pass over them in every way, chunks in work go on, and what waits says so, on every replica."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.chunk_pb2 import HOLD_REASON_PAUSED
from jobledger.v1.job_pb2 import Hold, Job, JobView
from jobledger.v1.job_service_pb2 import GetJobRequest
from jobledger.v1.limit_service_pb2 import ListPausedKindsRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger.v1.stats_pb2 import HeldChunks
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimChunkRequest,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksRequest,
)

from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND
from tests.support.errors import invalid, refused
from tests.support.pauses import pause, paused_kinds, resume
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED

Connect = Callable[[Server], Api]
PAUSED = [Hold(reason=HOLD_REASON_PAUSED)]
LONG = timedelta(minutes=5)
"""Longer than a test may take."""


async def claim_of_jobs(api: Api, *jobs: Job, wait: timedelta | None = None) -> list[ClaimedChunk]:
    job_ids = [job.job_id for job in jobs]
    request = ClaimChunksRequest(job_ids=job_ids, max_chunks=9, worker="w", wait=wait)
    return list((await api.work.ClaimChunks(request)).chunks)


async def complete_and_claim(api: Api, claimed: ClaimedChunk, kind: str) -> list[ClaimedChunk]:
    completions = [ChunkCompletion(lease_token=claimed.lease.token)]
    claim = ClaimChunksRequest(kinds=[kind], max_chunks=9, worker="w")
    return list((await api.work.CompleteChunks(CompleteChunksRequest(completions=completions, claim=claim))).claimed)


async def shown(api: Api, job: Job) -> list[Job]:
    """Return a job as the reads show it that show holds."""
    views = JobView.JOB_VIEW_UNSPECIFIED, JobView.JOB_VIEW_BASIC, JobView.JOB_VIEW_FULL
    gets = [await api.jobs.GetJob(GetJobRequest(job_id=job.job_id, view=view)) for view in views]
    batch = (await api.batch_get(job_ids=[job.job_id])).jobs
    listed = (await api.list_jobs(filter={"kinds": [job.kind]})).jobs
    return [*(one.job for one in gets), *batch, *(one for one in listed if one.job_id == job.job_id)]


@pytest.mark.guarantee("3c.14")
async def test_claims_pass_over_a_paused_kind_in_every_way_that_leads_to_a_chunk(
    api: Api, kind: str, connect: Connect, replicas: list[Server]
):
    other, open_kind = connect(replicas[-1]), fresh_kind()
    before = await api.create(kind, item_count=3, chunk_size=1)
    await pause(api, kind)
    after, free = await other.create(kind), await api.create(open_kind)
    for one in api, other:
        assert await one.claim(kind, 9) == []
        assert await claim_of_jobs(one, before, after) == []
        for job in before, after:
            with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
                await one.work.ClaimChunk(ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker="w"))
    request = ClaimChunksRequest(kinds=[kind, open_kind], max_chunks=9, worker="w")
    assert [one.job_id for one in (await other.work.ClaimChunks(request)).chunks] == [free.job_id]
    assert await resume(other, kind)
    assert len(await claim_of_jobs(api, after)) == 1
    assert len(await api.claim(kind, 9)) == 3


@pytest.mark.guarantee("3c.14")
async def test_chunks_in_work_go_on_and_the_finalizer_waits(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1, finalizer={})
    first, second = await api.claim(kind, 9)
    await pause(api, kind)
    await api.report(first, percent=50)
    assert await complete_and_claim(api, first, kind) == []
    assert await complete_and_claim(api, second, kind) == [], "it completed the last other chunk"
    assert all(list(one.holds) == PAUSED for one in await shown(api, job))
    await resume(api, kind)
    [last] = await api.claim(kind, 9)
    assert last.chunk.finalizer
    await api.complete(last)
    assert (await api.get(job.job_id)).state == COMPLETED


@pytest.mark.guarantee("3c.11")
async def test_what_waits_for_a_paused_kind_says_so_wherever_it_is_read(
    api: Api, kind: str, connect: Connect, replicas: list[Server]
):
    other = connect(replicas[-1])
    running, queued, done = [await api.create(kind, item_count=2, chunk_size=1) for _ in range(3)]
    claimed = await claim_of_jobs(api, running, done)
    await api.complete(*(one for one in claimed if one.job_id == done.job_id))
    await api.release(next(one for one in claimed if one.job_id == running.job_id))
    before = [await shown(one, job) for one in (api, other) for job in (running, queued, done)]
    assert not any(job.holds for some in before for job in some)
    await pause(api, kind)
    for one in api, other:
        assert all(list(job.holds) == PAUSED for job in [*await shown(one, running), *await shown(one, queued)])
        assert not any(job.holds for job in await shown(one, done))
        chunks = (await one.list_chunks(running.job_id)).chunks
        assert [list(chunk.holds) for chunk in chunks] == [[HOLD_REASON_PAUSED], []]
        assert [list(chunk.holds) for chunk in (await one.get(running.job_id)).chunks] == [[HOLD_REASON_PAUSED], []]
        stats = await one.stats(kinds=[kind])
        held = [HeldChunks(reason=HOLD_REASON_PAUSED, chunk_count=3)]
        assert list(stats.total.now.chunks_held) == list(stats.kinds[0].stats.now.chunks_held) == held
        of_all = await one.stats()
        assert sum(one.chunk_count for one in of_all.total.now.chunks_held if one.reason == HOLD_REASON_PAUSED) >= 3
    revision = (await api.get(queued.job_id)).revision
    await resume(other, kind)
    assert [await shown(one, job) for one in (api, other) for job in (running, queued, done)] == before
    assert revision == queued.revision, "no job is changed by a pause"


@pytest.mark.guarantee("3a.1")
@pytest.mark.parametrize("view", [JobView.JOB_VIEW_UNSPECIFIED, JobView.JOB_VIEW_STATUS])
async def test_a_watch_begins_with_why_a_job_waits_and_a_pause_is_no_event(api: Api, kind: str, view: int):
    job, other = [await api.create(kind, item_count=2, chunk_size=1) for _ in range(2)]
    async with api.watch_job(job.job_id, view=view) as before:
        assert not (await before.message()).job.holds
        await pause(api, kind)
        async with api.watch_job(job.job_id, view=view) as watch, api.watch_jobs(kind, view=view) as many:
            shown = [await watch.message(), await many.message(), await many.message()]
            assert [list(one.job.holds) for one in shown] == [PAUSED] * 3
            assert all(list(chunk.holds) == [HOLD_REASON_PAUSED] for chunk in shown[0].job.chunks)
            await api.cancel(job.job_id)
            assert [(await one.change()).job.state for one in (before, watch)] == [CANCELLED] * 2
    listed = (await api.list_jobs(filter={"kinds": [kind]}, view=JobView.JOB_VIEW_STATUS)).jobs
    assert {one.job_id: list(one.holds) for one in listed} == {job.job_id: [], other.job_id: PAUSED}


@pytest.mark.guarantee("3c.14")
@pytest.mark.parametrize("of_jobs", [False, True], ids=["kinds", "job_ids"])
async def test_resuming_wakes_the_claims_that_wait_on_every_replica(
    kind: str, connect: Connect, woken: list[Server], of_jobs: bool
):
    api, last = connect(woken[0]), connect(woken[-1])
    await pause(api, kind)
    job = await api.create(kind, item_count=2, chunk_size=1)
    waiting = [
        asyncio.create_task(claim_of_jobs(one, job, wait=LONG) if of_jobs else one.claim(kind, wait=LONG))
        for one in (api, last)
    ]
    for one in (api, last):
        assert await one.claim(kind) == []  # a later call on the same connection, which finds nothing either
    await resume(last, kind)
    done, _ = await asyncio.wait(waiting, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
    assert done
    if of_jobs:
        for task in set(waiting) - done:
            task.cancel()
    else:
        assert sorted(one.chunk.index for some in await asyncio.gather(*waiting) for one in some) == [0, 1]


async def test_a_pause_keeps_its_time_and_gets_a_new_reason(api: Api, kind: str):
    first = await pause(api, kind, "the disk is full")
    assert (first.kind, first.reason, first.paused_by, first.update_time) == (
        kind,
        "the disk is full",
        "caller",
        first.pause_time,
    )
    second = await pause(api, kind, "still full")
    assert (second.reason, second.pause_time) == ("still full", first.pause_time)
    assert second.update_time.ToMicroseconds() >= first.update_time.ToMicroseconds()
    assert [one for one in await paused_kinds(api) if one.kind == kind] == [second]
    assert await resume(api, kind)
    assert not await resume(api, kind)
    assert kind not in [one.kind for one in await paused_kinds(api)]


async def test_paused_kinds_are_listed_by_name_page_by_page(api: Api, kind: str):
    kinds = [f"{kind}.k{n}" for n in range(5)]
    await asyncio.gather(*(pause(api, one, one) for one in reversed(kinds)))
    listed = await paused_kinds(api, page_size=2)
    assert [(one.kind, one.reason) for one in listed if one.kind.startswith(kind)] == [(one, one) for one in kinds]
    for one in kinds:
        await resume(api, one)


async def test_bad_kinds_and_reasons_are_refused(api: Api):
    with invalid("kind"):
        await pause(api, "")
    with invalid("kind"):
        await pause(api, "jobledger.bulk")
    with invalid("kind"):
        await resume(api, "jobledger.bulk")
    with invalid("reason"):
        await pause(api, "k", "x" * 1_025)
    stub = LimitServiceStub(api.channel)
    with invalid("page_size"):
        await stub.ListPausedKinds(ListPausedKindsRequest(page_size=-1))
    assert "k" not in [one.kind for one in await paused_kinds(api)]
