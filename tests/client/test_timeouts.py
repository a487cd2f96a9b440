"""Time limits reach workers: the end of an attempt by their own clock, the end of a run by the stream."""

import asyncio
from datetime import timedelta

import pytest
from jobledger_client import (
    AsyncJobClient,
    ChangeType,
    ChunkContext,
    ChunkState,
    JobState,
    JobView,
    NewJob,
    RetryPolicy,
    StopReason,
)
from jobledger_client.testing import FakeContext

from tests.client.conftest import Serving, changes
from tests.support.bounds import CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

SECOND = timedelta(seconds=1)
AT_ONCE = RetryPolicy(max_attempts=2, initial_backoff=timedelta(0))


async def test_a_handler_that_hangs_is_stopped_at_the_end_of_its_attempt_and_the_next_attempt_completes(
    client: AsyncJobClient, serving: Serving, kind: str, caplog: pytest.LogCaptureFixture
):
    reasons: list[StopReason | None] = []

    async def hangs(ctx: ChunkContext) -> None:
        if ctx.chunk.attempt == 1:
            try:
                await asyncio.Event().wait()  # its heartbeats go on
            finally:
                reasons.append(ctx.stop_reason)

    def plain(ctx: ChunkContext) -> None:
        if ctx.chunk.attempt == 1 and ctx.wait_cancelled(CALL_TIMEOUT):
            reasons.append(ctx.stop_reason)

    handlers = {f"{kind}.async": hangs, f"{kind}.plain": plain}
    limits = {"attempt_timeout": SECOND, "retry_policy": AT_ONCE}
    jobs = [(await client.create_job(one, **limits)).job for one in handlers]
    async with serving(handlers):
        ended = [await client.wait(job.job_id, timeout=CALL_TIMEOUT) for job in jobs]
    assert [job.state for job in ended] == [JobState.COMPLETED] * 2
    assert reasons == [StopReason.TIMED_OUT] * 2
    assert sum("took longer than its attempt_timeout" in message for message in caplog.messages) == 2
    for job in jobs:
        types = await changes(client, job.job_id)
        assert types.count(ChangeType.ATTEMPT_TIMED_OUT) == 1
        assert ChangeType.CHUNK_FAILED not in types
        assert ChangeType.CHUNK_RELEASED not in types


async def test_a_handler_is_stopped_at_the_end_of_the_run(client: AsyncJobClient, serving: Serving, kind: str):
    reasons: asyncio.Queue[StopReason | None] = asyncio.Queue()

    async def hangs(ctx: ChunkContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            reasons.put_nowait(ctx.stop_reason)

    job = (await client.create_job(kind, run_timeout=SECOND)).job
    async with serving({kind: hangs}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
        assert await reasons.get() is StopReason.LEASE_LOST
    assert (ended.state, ended.error.code) == (JobState.FAILED, "TIMED_OUT")
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].state == ChunkState.CANCELLED
    assert (await changes(client, job.job_id))[-1] == ChangeType.RUN_TIMED_OUT


async def test_many_jobs_have_time_limits_as_one_has(client: AsyncJobClient, kind: str):
    new = NewJob(kind, run_timeout=timedelta(hours=2), attempt_timeout=timedelta(minutes=5))
    [outcome] = [one async for one in client.create_jobs([new])]
    assert outcome.job is not None
    assert outcome.job.run_timeout.ToTimedelta() == timedelta(hours=2)
    assert outcome.job.attempt_timeout.ToTimedelta() == timedelta(minutes=5)


def test_a_context_says_why_it_was_stopped_first():
    context = FakeContext()
    assert (context.stop_reason, context.stop_message) == (None, "")
    context.cancel(StopReason.TIMED_OUT, "it took an hour")
    context.cancel(StopReason.CANCEL_REQUESTED, "the wrong file")
    assert (context.cancelled, context.stop_reason) == (True, StopReason.TIMED_OUT)
    assert context.stop_message == "it took an hour"
