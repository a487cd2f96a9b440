"""Handlers that run for longer than their timeout fail their attempts."""

import asyncio
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from jobledger_client import AsyncJobClient, ChunkContext, JobState, RetryPolicy, Worker

from tests.client.conftest import Serving
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = [
    pytest.mark.long,  # a handler is abandoned
    pytest.mark.one_store("the SDK sees messages, not the store"),
]


@pytest.mark.guarantee("3c.3")
async def test_a_handler_that_runs_for_longer_than_its_timeout_fails_its_attempt(
    client: AsyncJobClient, serving: Serving, kind: str
):
    released = threading.Event()

    async def hangs(ctx: ChunkContext) -> None:
        await asyncio.Event().wait()

    async def swallows(ctx: ChunkContext) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def obeys(ctx: ChunkContext) -> None:
        assert ctx.wait_cancelled(CALL_TIMEOUT)

    def ignores(ctx: ChunkContext) -> None:
        assert released.wait(BOUND)

    handlers = {f"{kind}.{one.__name__}": one for one in (hangs, swallows, obeys, ignores)}
    jobs = [(await client.create_job(one, retry_policy=RetryPolicy(max_attempts=1))).job for one in handlers]
    async with serving(handlers, handler_timeout=timedelta(seconds=0.05)):
        ended = [await client.wait(job.job_id, timeout=CALL_TIMEOUT) for job in jobs]
        released.set()
    assert [(job.state, job.error.code) for job in ended] == [(JobState.FAILED, "HANDLER_TIMEOUT")] * 4


async def test_a_timeout_of_a_kind_goes_before_the_workers_and_the_attempt_is_retried(
    client: AsyncJobClient, server: Server, kind: str
):
    attempts: list[int] = []
    worker = Worker(server.target, cancel_grace=timedelta(seconds=0.05), handler_timeout=timedelta(hours=1))

    @worker.handler(kind, timeout=timedelta(seconds=0.05))
    async def handler(ctx: ChunkContext) -> None:
        attempts.append(ctx.chunk.attempt)
        if ctx.chunk.attempt == 1:
            await asyncio.Event().wait()

    retried = RetryPolicy(max_attempts=2, initial_backoff=timedelta(0))
    job = (await client.create_job(kind, retry_policy=retried)).job
    serving = asyncio.create_task(worker.serve())
    ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    worker.stop()
    await serving
    assert (ended.state, attempts) == (JobState.COMPLETED, [1, 2])


def test_a_timeout_is_more_than_nothing():
    with pytest.raises(ValueError, match="handler_timeout must be more than 0 s; got 0 s"):
        Worker(handler_timeout=timedelta(0))
    with pytest.raises(ValueError, match="timeout must be more than 0 s; got -1 s"):
        Worker().handler("a", timeout=timedelta(seconds=-1))
