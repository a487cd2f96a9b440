"""Workers at all replicas claim the same few jobs: each chunk is leased once and completed once, and none is left."""

import asyncio
import random
from collections import Counter
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import EventOrder, ListEventsRequest
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest, ClaimedChunk

from tests.support.api import Api, fresh_kind
from tests.support.errors import read
from tests.support.pages import pages_of
from tests.support.postgres import connect as connect_to_database
from tests.support.server import Server
from tests.support.states import COMPLETED, OK, summary

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

CLAIMED, CHUNK_COMPLETED = ChangeType.CHANGE_TYPE_CLAIMED, ChangeType.CHANGE_TYPE_CHUNK_COMPLETED
WORKERS, JOBS, CHUNKS = 24, 3, 100


async def chunks_by(api: Api, job: Job, type_: ChangeType) -> Counter[int]:
    """Count, from a job's history, how often something happened to each chunk."""
    pages = pages_of(
        api.jobs.ListEvents,
        ListEventsRequest(job_id=job.job_id, page_size=500, order=EventOrder.EVENT_ORDER_POSITION_ASC),
    )
    changes = [change async for page in pages for event in page.events for change in event.changes]
    return Counter(change.chunk_index for change in changes if change.type == type_)


async def work(apis: list[Api], kind: str, name: str, left: list[int]) -> list[ClaimedChunk]:
    """Claim and complete, each time at any replica, until all chunks are done; return what was claimed."""
    mine: list[ClaimedChunk] = []
    while left[0] > 0:
        claim, complete = random.sample(apis, 2)
        wait = timedelta(milliseconds=random.choice([0, 200]))
        claimed = await claim.claim(kind, random.randint(1, 5), worker=name, wait=wait)
        if claimed:
            assert {result.status for result in await complete.complete(*claimed)} == {OK}
        left[0] -= len(claimed)
        mine += claimed
    return mine


async def test_many_workers_at_all_replicas_lease_and_complete_each_chunk_once(apis: list[Api], kind: str):
    jobs = [await api.create(kind, item_count=CHUNKS, chunk_size=1) for api in apis[:JOBS]]
    left = [JOBS * CHUNKS]
    shares = await asyncio.gather(*(work(apis, kind, f"worker-{n}", left) for n in range(WORKERS)))
    claimed = [(one.job_id, one.chunk.index) for share in shares for one in share]
    assert len(claimed) == len(set(claimed)) == JOBS * CHUNKS
    assert left == [0]
    for job in jobs:
        after = await apis[0].get(job.job_id)
        assert (after.state, summary(after)) == (COMPLETED, {"total": CHUNKS, "completed": CHUNKS})
        assert {chunk.attempt for chunk in after.chunks} == {1}
        for type_ in (CLAIMED, CHUNK_COMPLETED):
            assert await chunks_by(apis[1], job, type_) == dict.fromkeys(range(CHUNKS), 1)


async def test_one_chunk_that_all_claim_at_once_goes_to_one(apis: list[Api], kind: str):
    for _ in range(20):
        job = await apis[0].create(kind)
        answers = await asyncio.gather(*(api.claim(kind) for api in apis for _ in range(4)))
        [claimed] = [chunk for answer in answers for chunk in answer]
        assert claimed.job_id == job.job_id
        await apis[1].complete(claimed)


async def test_a_named_chunk_that_all_claim_at_once_goes_to_one(apis: list[Api], kind: str):
    for _ in range(20):
        job = await apis[0].create(kind)
        calls = [
            api.work.ClaimChunk(
                ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker=f"worker-{n}", task_id=f"task-{n}")
            )
            for n, api in enumerate(apis)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [read(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [output.reason for output in refusals] == ["CHUNK_NOT_CLAIMABLE"] * 2
        assert len([answer for answer in answers if not isinstance(answer, BaseException)]) == 1


async def test_a_completion_that_is_sent_to_all_replicas_counts_once(apis: list[Api], kind: str):
    for _ in range(10):
        job = await apis[0].create(kind, item_count=20, chunk_size=1)
        claimed = await apis[0].claim(kind, 20)
        answers = await asyncio.gather(*(api.complete(*random.sample(claimed, 20)) for api in apis))
        assert {result.status for answer in answers for result in answer} == {OK}
        after = await apis[1].get(job.job_id)
        assert (after.state, after.progress.items_completed) == (COMPLETED, 20)
        assert await chunks_by(apis[2], job, CHUNK_COMPLETED) == dict.fromkeys(range(20), 1)


async def test_a_claim_passes_over_a_job_that_somebody_else_holds(three: list[Server], apis: list[Api], kind: str):
    urgent = await apis[0].create(kind, priority=9)
    other = await apis[0].create(kind, priority=1)
    with connect_to_database(three[0].database) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (urgent.job_id,))
        assert [claimed.job_id for claimed in await apis[1].claim(kind)] == [other.job_id]
        waiting = asyncio.create_task(apis[1].claim(kind, wait=timedelta(minutes=5)))
        await apis[1].create(fresh_kind())  # a batch later, the claim has found the job held
    assert [claimed.job_id for claimed in await waiting] == [urgent.job_id]


BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_chunk_that_was_claimed_for_a_caller_who_left_is_given_back_uncounted(
    three: list[Server], apis: list[Api], kind: str
):
    job = await apis[0].create(kind)
    with connect_to_database(three[0].database) as connection:
        with connection.transaction():
            connection.execute("SELECT 1 FROM ledger FOR UPDATE")
            leaving = asyncio.create_task(apis[0].claim(kind, worker="left"))
            while not connection.execute(BLOCKED).fetchall():
                await apis[0].get(job.job_id)
            leaving.cancel()
            await apis[0].get(job.job_id)  # a later call on the same connection: the server knows by now
        [claimed] = await apis[1].claim(kind, wait=timedelta(minutes=5))
    assert (claimed.job_id, claimed.chunk.attempt) == (job.job_id, 1)
    assert leaving.cancelled()
