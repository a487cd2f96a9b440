"""Cancellation reaches the engine: each task that works on a chunk of a job that is to stop, and no other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from jobledger_client import AsyncEngineTask, AsyncJobClient, CancelBridge, FailurePolicy, TaskToStop

from tests.support.bounds import CALL_TIMEOUT, within
from tests.support.server import Server
from tests.support.states import CANCELLED, CANCELLING, FAILED, RUNNING

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

Bridging = Callable[..., AbstractAsyncContextManager[asyncio.Queue[TaskToStop]]]


@pytest.fixture
def bridging(server: Server, kind: str) -> Bridging:
    """Return a context manager in which a bridge runs; it gives the tasks that were to stop."""

    @asynccontextmanager
    async def run(answer: bool | None = None, **settings: Any) -> AsyncIterator[asyncio.Queue[TaskToStop]]:
        stopped: asyncio.Queue[TaskToStop] = asyncio.Queue()

        async def stop_task(task: TaskToStop) -> bool | None:
            stopped.put_nowait(task)
            return answer

        bridge = CancelBridge(server.target, **{"kinds": [kind], "stop_task": stop_task} | settings)
        serving = asyncio.create_task(bridge.serve())
        try:
            yield stopped
        finally:
            bridge.stop()
            await within(serving)

    return run


async def begun(client: AsyncJobClient, kind: str, chunks: int = 3, working: int = 2, **settings: Any) -> str:
    """Create a job of which an engine works on some chunks."""
    job_id = (await client.create_job(kind, item_count=chunks, chunk_size=1, **settings)).job.job_id
    for index in range(working):
        await AsyncEngineTask(client, job_id, index, task_id=f"run-{index}", worker="argo").begin()
    return job_id


async def next_of(stopped: asyncio.Queue[TaskToStop], count: int) -> list[tuple[int, str]]:
    found = [await within(stopped.get()) for _ in range(count)]
    assert stopped.empty()
    return sorted((one.chunk_index, one.task_id) for one in found)


async def test_what_the_engine_has_stopped_ends_the_job_at_once(bridging: Bridging, client: AsyncJobClient, kind: str):
    async with bridging(answer=True) as stopped:
        job_id = await begun(client, kind)
        await client.cancel_job(job_id, reason="wrong file", grace_period=timedelta(hours=1))
        job = await client.wait(job_id, timeout=CALL_TIMEOUT)
        assert job.state == CANCELLED
        task = await stopped.get()
        assert (task.job_id, task.worker, task.reason) == (job_id, "argo", "wrong file")
        assert await next_of(stopped, 1) == [(1, "run-1") if task.chunk_index == 0 else (0, "run-0")]


async def test_without_its_word_the_task_itself_stops(bridging: Bridging, client: AsyncJobClient, kind: str):
    async with bridging() as stopped:
        job_id = await begun(client, kind, working=1)
        await client.cancel_job(job_id)
        assert await next_of(stopped, 1) == [(0, "run-0")]
        assert (await client.get_job(job_id)).state == CANCELLING
        await AsyncEngineTask(client, job_id, task_id="run-0", worker="argo").release()
        assert (await client.get_job(job_id)).state == CANCELLED


@pytest.mark.parametrize("way", ["force", "delete", "fail fast"])
async def test_leases_that_are_taken_away_stop_their_tasks_too(
    bridging: Bridging, client: AsyncJobClient, kind: str, way: str
):
    settings: dict[str, Any] = {"failure_policy": FailurePolicy.FAIL_FAST} if way == "fail fast" else {}
    async with bridging() as stopped:
        job_id = await begun(client, kind, **settings)
        other = await begun(client, kind)
        if way == "force":
            await client.cancel_job(job_id, force=True)
        elif way == "delete":
            await client.delete_job(job_id, force=True)
        else:
            await AsyncEngineTask(client, job_id, 1, task_id="run-1", worker="argo").fail("OOM", retryable=False)
            assert (await client.get_job(job_id)).state == FAILED
        wanted = [(0, "run-0")] if way == "fail fast" else [(0, "run-0"), (1, "run-1")]
        assert await next_of(stopped, len(wanted)) == wanted
        assert (await client.get_job(other)).state == RUNNING


async def test_a_bridge_that_was_away_continues_from_its_cursor(bridging: Bridging, client: AsyncJobClient, kind: str):
    cursors: list[bytes] = []
    known = asyncio.Event()

    def save(cursor: bytes) -> None:
        cursors.append(cursor)
        known.set()

    async with bridging(on_cursor=save):
        first = await begun(client, kind)
        await within(known.wait())
    await client.cancel_job(first, force=True)
    second = await begun(client, kind, working=1)
    await client.cancel_job(second)
    async with bridging(cursor=cursors[-1]) as stopped:
        assert await next_of(stopped, 3) == [(0, "run-0"), (0, "run-0"), (1, "run-1")]


async def test_an_engine_that_does_not_answer_is_asked_again(client: AsyncJobClient, bridging: Bridging, kind: str):
    requested = asyncio.Queue[str]()

    async def stop_task(task: TaskToStop) -> bool:
        requested.put_nowait(task.task_id)
        if requested.qsize() < 2:
            raise ConnectionError("the engine is away")
        return True

    async with bridging(stop_task=stop_task):
        job_id = await begun(client, kind, chunks=1, working=1)
        await client.cancel_job(job_id)
        assert (await client.wait(job_id, timeout=CALL_TIMEOUT)).state == CANCELLED
    assert requested.qsize() == 2
