"""The worker runner against a real server: what it claims, and how it calls handlers."""

import asyncio
import threading

import pytest
from jobledger_client import AsyncJobClient, ChunkContext, JobState

from tests.client.conftest import Serving
from tests.support.bounds import BOUND, CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


async def test_an_async_handler_completes_its_chunks(client: AsyncJobClient, serving: Serving, kind: str):
    seen: list[tuple[range, dict, dict]] = []

    async def handler(ctx: ChunkContext) -> None:
        seen.append((ctx.items, ctx.input, ctx.chunk_input))

    job = (await client.create_job(kind, item_count=1_200, input={"site": "x", "depth": 3})).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.COMPLETED
    assert sorted(items.start for items, _, _ in seen) == [0, 500, 1_000]
    assert max(items.stop for items, _, _ in seen) == 1_200
    assert all((job_input, chunk_input) == ({"site": "x", "depth": 3}, {}) for _, job_input, chunk_input in seen)


async def test_a_plain_handler_runs_beside_the_event_loop(client: AsyncJobClient, serving: Serving, kind: str):
    threads: set[int] = set()
    both = threading.Barrier(2)

    def handler(ctx: ChunkContext) -> None:
        both.wait(BOUND)  # passes only if both chunks are in work at once
        threads.add(threading.get_ident())

    job = (await client.create_job(kind, chunks=[{"page": 1}, {"page": 2}])).job
    async with serving({kind: handler}, concurrency=2):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.COMPLETED
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_chunks_have_their_own_input(client: AsyncJobClient, serving: Serving, kind: str):
    pages: list[dict] = []

    async def handler(ctx: ChunkContext) -> None:
        pages.append(ctx.chunk_input)

    job = (await client.create_job(kind, chunks=[{"page": 1}, {"page": 2.5, "tags": ["a", None, True]}])).job
    async with serving({kind: handler}, concurrency=1):
        await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert pages == [{"page": 1}, {"page": 2.5, "tags": ["a", None, True]}]
    assert isinstance(pages[0]["page"], int)


async def test_no_more_chunks_are_in_work_than_there_are_slots(client: AsyncJobClient, serving: Serving, kind: str):
    in_work = limit = 0

    async def handler(ctx: ChunkContext) -> None:
        nonlocal in_work, limit
        in_work += 1
        limit = max(limit, in_work)
        await asyncio.sleep(0)
        in_work -= 1

    job = (await client.create_job(kind, item_count=40, chunk_size=1)).job
    async with serving({kind: handler}, concurrency=3):
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    assert 1 < limit <= 3
