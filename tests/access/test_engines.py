"""Engines call with a key: their dispatcher, the bridge of cancellations and their processes take one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger_client import (
    ApiKeyMissingError,
    AsyncEngineTask,
    AsyncJobClient,
    CancelBridge,
    Dispatcher,
    EngineRunner,
    JobView,
    TaskToStop,
)

from tests.access.conftest import As, Keyed
from tests.support.bounds import CALL_TIMEOUT, within
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.states import CANCELLED


@asynccontextmanager
async def serving(one: Dispatcher | CancelBridge) -> AsyncIterator[None]:
    task = asyncio.create_task(one.serve())
    try:
        yield
    finally:
        one.stop()
        await within(task)


async def test_engines_work_with_a_key(keyed: Keyed, admin: KeyedApi, kind: str):
    target, key = keyed.replicas[0].target, (await admin.make(CALLER, WORKER)).token
    pushed: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    stopped: asyncio.Queue[str] = asyncio.Queue()

    async def push(job: Job, chunk: Chunk) -> str:
        pushed.put_nowait((job.job_id, chunk.index))
        return "task"

    async def stop(task: TaskToStop) -> None:
        stopped.put_nowait(task.task_id)

    def work(runner: EngineRunner, job_id: str, index: int) -> None:
        with runner.attempt(job_id, index, task_id="task") as ctx:
            assert ctx.wait_cancelled(CALL_TIMEOUT)

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncJobClient(target, api_key=key, timeout=CALL_TIMEOUT))
        await stack.enter_async_context(serving(Dispatcher(target, api_key=key, kinds=[kind], push=push)))
        await stack.enter_async_context(serving(CancelBridge(target, api_key=key, kinds=[kind], stop_task=stop)))
        runner = stack.enter_context(EngineRunner(target, api_key=key))
        job_id = (await client.create_job(kind)).job.job_id
        working = asyncio.create_task(asyncio.to_thread(work, runner, *await within(pushed.get())))
        while (await client.get_job(job_id, view=JobView.FULL)).chunks[0].task_id != "task":
            continue
        await client.cancel_job(job_id)
        assert await within(stopped.get()) == "task"
        await within(working)
        assert (await client.wait(job_id, timeout=CALL_TIMEOUT)).state == CANCELLED


async def test_an_engine_works_for_an_owner_that_its_key_serves(
    keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str
):
    target, owners = keyed.replicas[0].target, ("ann-of-engines", "ben-of-engines")
    ann, ben = [as_holder(admin, (await admin.make(CALLER, owner=owner)).token) for owner in owners]
    for api in ann, ben:
        await api.create(kind, job_id=kind, item_count=2, chunk_size=1)
    key = (await admin.make(WORKER, owner="engines", served_owners=owners)).token

    def work(runner: EngineRunner) -> None:
        with (
            runner.attempt(kind, 0, task_id="a", owner=owners[0]),
            runner.attempt(kind, 0, task_id="b", owner=owners[1]),
        ):
            pass

    with EngineRunner(target, api_key=key) as runner:
        await within(asyncio.to_thread(work, runner))
    async with AsyncJobClient(target, api_key=key, timeout=CALL_TIMEOUT) as client:
        await AsyncEngineTask(client, kind, 1, task_id="c", worker="w", owner=owners[1]).complete()
    assert [(await api.get(kind)).chunks_summary.completed for api in (ann, ben)] == [1, 2]


def test_an_engine_without_a_key_is_refused(keyed: Keyed, kind: str):
    with (
        EngineRunner(keyed.replicas[0].target, api_key="") as runner,
        pytest.raises(ApiKeyMissingError),
        runner.attempt("job", task_id="task"),
    ):
        raise AssertionError("it had no key")
