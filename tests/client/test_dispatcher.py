"""The dispatcher pushes what is pending: the most urgent first, once while nothing is lost, and again when it is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger_client import AsyncEngineTask, AsyncJobClient, Dispatcher, JobView, RetryPolicy
from jobledger_client._engines._backlog import Backlog
from jobledger_client._engines._server_clock import ServerClock

from tests.support.bounds import BOUND, within
from tests.support.server import Server
from tests.support.states import COMPLETED

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

Message = tuple[str, int, str]  # job_id, chunk index, task_id


class Queue(asyncio.Queue[Message]):
    """An engine's queue."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = count(1)
        self.withdrawn: asyncio.Queue[str] = asyncio.Queue()

    async def push(self, job: Job, chunk: Chunk) -> str:
        task_id = f"task-{next(self.ids)}"
        self.put_nowait((job.job_id, chunk.index, task_id))
        return task_id

    async def take(self) -> Message:
        return await within(self.get())


Dispatching = Callable[..., AbstractAsyncContextManager[Queue]]


@pytest.fixture
def dispatching(server: Server, kind: str) -> Dispatching:
    """Return a context manager in which a dispatcher runs; it gives the engine's queue."""

    @asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[Queue]:
        queue = Queue()
        given = {"kinds": [kind], "push": queue.push, "withdraw": queue.withdrawn.put_nowait} | settings
        dispatcher = Dispatcher(server.target, **given)
        serving = asyncio.create_task(dispatcher.serve())
        try:
            yield queue
        finally:
            dispatcher.stop()
            await within(serving)

    return run


async def create(client: AsyncJobClient, kind: str, chunks: int, **settings: Any) -> str:
    return (await client.create_job(kind, item_count=chunks, chunk_size=1, **settings)).job.job_id


def run_of(client: AsyncJobClient, message: Message) -> AsyncEngineTask:
    return AsyncEngineTask(client, message[0], message[1], task_id=message[2], worker="engine")


async def test_every_chunk_is_pushed_once_and_urgent_ones_first(
    dispatching: Dispatching, client: AsyncJobClient, kind: str
):
    slow = await create(client, kind, 3)
    urgent = await create(client, kind, 2, priority=9)
    async with dispatching(max_queued=1) as queue:
        pushed = []
        for _ in range(5):
            pushed.append(await queue.take())
            assert queue.empty(), "no more than `max_queued` wait in the engine's queue"
            await run_of(client, pushed[-1]).complete()
        assert [message[:2] for message in pushed] == [(urgent, 0), (urgent, 1), (slow, 0), (slow, 1), (slow, 2)]
        assert [(await client.get_job(job_id)).state for job_id in (slow, urgent)] == [COMPLETED, COMPLETED]


async def test_a_failed_attempt_is_pushed_again(dispatching: Dispatching, client: AsyncJobClient, kind: str):
    async with dispatching() as queue:
        job_id = await create(client, kind, 1, retry_policy=RetryPolicy(initial_backoff=timedelta(milliseconds=10)))
        first = await queue.take()
        await run_of(client, first).fail("OOM")
        second = await queue.take()
        assert second[:2] == (job_id, 0)
        assert second[2] != first[2]
        await run_of(client, second).complete()
        assert (await client.get_job(job_id, view=JobView.FULL)).chunks[0].attempt == 2


async def test_a_lost_message_is_sent_again(dispatching: Dispatching, client: AsyncJobClient, kind: str):
    async with dispatching(push_timeout=timedelta(seconds=0.2), max_queued=1) as queue:
        await create(client, kind, 1)
        lost, again = await queue.take(), await queue.take()
        assert lost[:2] == again[:2]
        await run_of(client, again).complete()


async def test_a_queue_that_is_away_is_tried_again(dispatching: Dispatching, client: AsyncJobClient, kind: str):
    tried = asyncio.Queue[int]()

    async def push(_: Job, chunk: Chunk) -> str:
        tried.put_nowait(chunk.index)
        if chunk.index == 0 and tried.qsize() == 1:
            raise ConnectionError("the broker is away")
        return "task"

    async with dispatching(push=push):
        await create(client, kind, 1)
        async with asyncio.timeout(BOUND):
            assert [await tried.get(), await tried.get()] == [0, 0]


async def test_what_nobody_needs_is_withdrawn(dispatching: Dispatching, client: AsyncJobClient, kind: str):
    async with dispatching() as queue:
        job_id = await create(client, kind, 2)
        first, second = await queue.take(), await queue.take()
        await run_of(client, first).begin()
        await client.cancel_job(job_id)
        assert await within(queue.withdrawn.get()) == second[2]
        assert queue.withdrawn.empty(), "the one that was claimed is the bridge's"


async def test_a_dispatcher_begins_with_what_is_there(dispatching: Dispatching, client: AsyncJobClient, kind: str):
    job_id = await create(client, kind, 2)
    async with dispatching() as queue:
        assert {(await queue.take())[:2] for _ in range(2)} == {(job_id, 0), (job_id, 1)}
    async with dispatching() as queue:
        message = await queue.take()
        assert message[:2] == (job_id, 0), "another dispatcher knows nothing of the first"


def test_a_window_has_room(kind: str):
    with pytest.raises(ValueError, match="max_queued must be 1 or more; got 0"):
        Dispatcher(kinds=[kind], push=lambda job, chunk: "", max_queued=0)


def test_times_of_the_service_are_read_by_its_own_clock():
    now = {"wall": 5_000.0, "monotonic": 10.0}
    clock = ServerClock(lambda: now["wall"], lambda: now["monotonic"])
    assert clock.now() == 5_000.0  # nothing was heard of yet
    clock.observe(8_600.0)  # the service is an hour ahead
    now["monotonic"] += 5.0
    assert clock.now() == 8_605.0
    clock.observe(8_603.0)  # an event that took longer tells less
    assert clock.now() == 8_605.0
    now["monotonic"] += 301.0
    clock.observe(8_900.0)  # after a while it counts all the same: clocks drift
    assert clock.now() == 8_900.0


async def test_a_round_counts_once_what_waits_however_many_chunks_it_pushes(
    dispatching: Dispatching, client: AsyncJobClient, kind: str, monkeypatch: pytest.MonkeyPatch
):
    counted = 0
    waiting = Backlog.count_unclaimed

    def counting(self: Backlog, now: float) -> int:
        nonlocal counted
        counted += 1
        return waiting(self, now)

    monkeypatch.setattr(Backlog, "count_unclaimed", counting)
    await create(client, kind, 300)
    async with dispatching(max_queued=200) as queue:
        taken = [await queue.take() for _ in range(200)]
        assert len({message[1] for message in taken}) == 200
        assert counted < 20
        assert queue.empty()
