"""The last word counts: what a handler reported last is there when its chunk has ended, however it ended."""

import asyncio
from datetime import timedelta

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import AsyncJobClient, ChunkContext, JobState, RetryPolicy

from tests.client.conftest import Serving
from tests.support.bounds import CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

STAGES = ["fetch", "parse", "store"]


def report_all(ctx: ChunkContext) -> None:
    """Go through three stages faster than any heartbeat."""
    for stage in STAGES:
        ctx.progress(stage=stage, stage_percent=50, message=f"{stage} begins")
    ctx.artifact("log", uri="s3://bucket/log")
    ctx.artifact("preview", uri="s3://bucket/preview", job=True)
    ctx.progress(stage_percent=90, message="90 % stored")


def check_last_word(job: Job) -> None:
    """Check that all of it is there."""
    assert (job.progress.stage, job.progress.stage_percent, job.progress.message) == ("store", 90, "90 % stored")
    assert [timing.stage for timing in job.stage_timings] == STAGES
    assert all(timing.HasField("end_time") for timing in job.stage_timings)
    assert job.artifacts["preview"].uri == "s3://bucket/preview"
    for chunk in job.chunks:
        assert (chunk.progress.stage, chunk.progress.message) == ("store", "90 % stored")
        assert chunk.artifacts["log"].uri == "s3://bucket/log"


@pytest.mark.guarantee("3c.2")
@pytest.mark.parametrize("end", ["returns", "raises"])
async def test_the_last_word_of_every_chunk_counts(client: AsyncJobClient, serving: Serving, kind: str, end: str):
    async def handler(ctx: ChunkContext) -> None:
        report_all(ctx)
        if end == "raises":
            raise ValueError("no space")

    created = await client.create_job(
        kind, item_count=16, chunk_size=1, retry_policy=RetryPolicy(max_attempts=1), stages=STAGES
    )
    async with serving({kind: handler}):
        ended = await client.wait(created.job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == (JobState.COMPLETED if end == "returns" else JobState.FAILED)
    if end == "raises":
        assert ended.error.stage == "store"
    check_last_word(await client.get_job(created.job.job_id))


async def test_the_last_word_of_a_chunk_that_is_given_back_counts(client: AsyncJobClient, serving: Serving, kind: str):
    started = asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            report_all(ctx)

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, heartbeat_interval=timedelta(seconds=0.1)):
        await started.wait()
        await client.cancel_job(job.job_id)
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.CANCELLED
    check_last_word(await client.get_job(job.job_id))
