"""The finalizer in the SDK, on the command line and for engines: it comes when all others are completed."""

import asyncio
from datetime import timedelta

import pytest
from jobledger_client import (
    AsyncEngineTask,
    AsyncJobClient,
    ChunkContext,
    Dispatcher,
    FinalizerSpec,
    HoldReason,
    JobClient,
    JobState,
    NewJob,
    Worker,
)
from jobledger_client.testing import FakeContext

from tests.client.shell import Shell
from tests.support.bounds import BOUND, CALL_TIMEOUT, within
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


def test_a_worker_gets_the_finalizer_last(server: Server, sync_client: JobClient, kind: str):
    job = sync_client.create_job(kind, item_count=3, chunk_size=1, finalizer=FinalizerSpec({"join": 1}, weight=2)).job
    seen: list[tuple[bool, object]] = []
    worker = Worker(server.target, name="w", concurrency=3)

    @worker.handler(kind)
    def work(ctx: ChunkContext) -> None:
        seen.append((ctx.is_finalizer, ctx.chunk_input.get("join")))
        if ctx.is_finalizer:
            worker.stop()

    worker.run()
    assert seen == [(False, None)] * 3 + [(True, 1)]
    assert sync_client.wait(job.job_id, timeout=CALL_TIMEOUT).state == JobState.COMPLETED


def test_a_mapping_is_the_finalizers_input_and_bad_ones_are_refused(sync_client: JobClient, kind: str):
    [made] = sync_client.create_jobs([NewJob(kind, item_count=2, finalizer={"join": 1})])
    assert made.job is not None
    last = list(sync_client.list_chunks(made.job.job_id))[-1]
    assert (last.finalizer, last.input["join"], list(last.holds)) == (True, 1, [HoldReason.FINALIZER])
    for bad, path in ((FinalizerSpec(weight=float("nan")), "finalizer.weight"), ({"a": {1}}, r"finalizer.input\.a")):
        with pytest.raises(ValueError, match=path):
            sync_client.create_job(kind, item_count=2, finalizer=bad)


def test_the_command_line_creates_and_shows_it(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "2", "--finalizer-input", '{"join": true}').strip()
    assert list(sync_client.list_chunks(job_id))[-1].input["join"] is True
    assert "FINALIZER" in shell("chunks", job_id)


def test_a_handler_is_tested_as_the_finalizer():
    assert FakeContext(is_finalizer=True).is_finalizer
    assert not FakeContext().is_finalizer


async def test_a_dispatcher_pushes_it_when_the_others_are_completed(server: Server, kind: str):
    pushed: asyncio.Queue[int] = asyncio.Queue()

    async def push(_: object, chunk: object) -> str:
        pushed.put_nowait(chunk.index)  # type: ignore[attr-defined]  a chunk
        return f"task-{chunk.index}"  # type: ignore[attr-defined]

    async with AsyncJobClient(server.target) as client:
        job = (await client.create_job(kind, item_count=2, chunk_size=1, finalizer={})).job
        dispatcher = Dispatcher(server.target, kinds=[kind], push=push)
        serving = asyncio.create_task(dispatcher.serve())
        order: list[int] = []
        while len(order) < 3:
            index = await within(pushed.get())
            if index in order:  # engines deliver twice
                continue
            task = AsyncEngineTask(client, job.job_id, index, task_id=f"task-{index}", worker="engine")
            await task.begin()
            await task.complete()
            order.append(index)
        dispatcher.stop()
        await within(serving)
        ended = await client.wait(job.job_id, timeout=timedelta(seconds=BOUND))
    assert (order, ended.state) == ([0, 1, 2], JobState.COMPLETED)
