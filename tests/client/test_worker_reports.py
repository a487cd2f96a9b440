"""What a worker reports, against a real server: progress, artifacts, results and failures."""

import asyncio
import threading
from datetime import timedelta

import pytest
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ProgressReport
from jobledger_client import (
    AsyncJobClient,
    ChangeType,
    ChunkContext,
    ChunkState,
    EventOrder,
    JobState,
    JobView,
    NotRetryable,
    RetryLater,
    RetryPolicy,
)
from jobledger_client.testing import FakeContext

from tests.client.conftest import Serving, changes
from tests.support.bounds import BOUND, CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

ENDS = {ChangeType.CHUNK_COMPLETED, ChangeType.CHUNK_FAILED}
AT_ONCE = RetryPolicy(max_attempts=3, initial_backoff=timedelta(0), jitter=0)


async def test_progress_artifacts_and_the_result_arrive(client: AsyncJobClient, serving: Serving, kind: str):
    seen = asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        ctx.progress(stage="decode", stage_percent=50, message="half of it")
        ctx.artifact("preview", uri="s3://bucket/p.png", content_type="image/png", size_bytes=7, metadata={"w": 2})
        ctx.artifact("poster", uri="https://host/poster", job=True)
        ctx.result("s3://bucket/result")
        await seen.wait()
        ctx.artifact("late", uri="s3://bucket/late")

    job = (await client.create_job(kind, stages={"decode": 1, "encode": 3})).job
    async with serving({kind: handler}), client.watch(job.job_id, timeout=CALL_TIMEOUT) as messages:
        async for message in messages:
            if message.job.progress.stage == "decode" and not seen.is_set():
                assert message.job.progress.percent == pytest.approx(12.5)
                assert message.job.progress.message == "half of it"
                assert message.job.artifacts["poster"].uri == "https://host/poster"
                seen.set()
    ended = await client.get_job(job.job_id, view=JobView.FULL)
    assert ended.result_uri == "s3://bucket/result"
    artifacts = ended.chunks[0].artifacts
    assert set(artifacts) == {"preview", "late"}
    assert (artifacts["preview"].size_bytes, artifacts["preview"].metadata["w"]) == (7, 2)


async def test_outputs_arrive_and_wait_returns_that_of_the_job(client: AsyncJobClient, serving: Serving, kind: str):
    def handler(ctx: ChunkContext) -> None:
        ctx.output = {"replaced": True}
        ctx.output = {"frames": len(ctx.items), "of": ["a", None]}
        ctx.job_output = {"score": 0.5}
        assert (ctx.output["frames"], ctx.job_output) == (3, {"score": 0.5})

    job = (await client.create_job(kind, item_count=3)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, ended.output["score"], len(ended.chunks)) == (JobState.COMPLETED, 0.5, 0)
    [chunk] = (await client.get_job(job.job_id, view=JobView.FULL)).chunks
    assert (chunk.output["frames"], list(chunk.output["of"])) == (3, ["a", None])


async def test_the_next_attempt_continues_from_the_checkpoint(client: AsyncJobClient, serving: Serving, kind: str):
    begun: list[object] = []

    def handler(ctx: ChunkContext) -> None:
        begun.append(ctx.last_checkpoint)
        with pytest.raises(ValueError, match="checkpoint must have at most 4096 bytes"):
            ctx.checkpoint({"x": "y" * 4_096})
        with pytest.raises(ValueError, match="checkpoint"):
            ctx.checkpoint({"x": float("nan")})
        ctx.checkpoint({"replaced": True})
        ctx.checkpoint({"done": len(begun)})
        if len(begun) == 1:
            raise RuntimeError("the first attempt fails")
        if len(begun) == 2:
            ctx.release()

    job = (await client.create_job(kind, retry_policy=AT_ONCE)).job
    async with serving({kind: handler}):
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    assert begun == [None, {"done": 1}, {"done": 2}]


async def test_a_heartbeat_sends_the_checkpoint(client: AsyncJobClient, serving: Serving, kind: str):
    resumed: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def handler(ctx: ChunkContext) -> None:
        if ctx.last_checkpoint is not None:
            resumed.set_result(ctx.last_checkpoint)
            return
        ctx.checkpoint({"done": 3})
        ctx.progress(message="kept")
        await asyncio.Event().wait()

    job = (await client.create_job(kind)).job
    async with client.watch(job.job_id, timeout=CALL_TIMEOUT) as messages, serving({kind: handler}):
        async for message in messages:
            if message.job.progress.message == "kept":  # it was sent with the same heartbeat
                break
        await client.cancel_job(job.job_id, force=True)
        await client.retry_job(job.job_id)
        assert await resumed == {"done": 3}


def test_a_fake_context_has_and_records_checkpoints():
    ctx = FakeContext(last_checkpoint={"done": 3})
    assert ctx.last_checkpoint == {"done": 3}
    assert FakeContext().last_checkpoint is None
    ctx.checkpoint({"done": 4})
    ctx.checkpoint({})
    assert ctx.checkpoints == [{"done": 4}, {}]


async def test_an_output_that_the_service_would_refuse_fails_at_once(
    client: AsyncJobClient, serving: Serving, kind: str
):
    refused = []

    def handler(ctx: ChunkContext) -> None:
        for name, value in (
            ("output", {"a": {"b": float("nan")}}),
            ("job_output", {"a": [2**53 + 1]}),
            ("output", {"a": object()}),
            ("output", {"a": "x" * 65_536}),
        ):
            try:
                setattr(ctx, name, value)
            except ValueError as error:
                refused.append(str(error).split(":")[0])

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert refused[:3] == ["output.a.b", "job_output.a[0]", "output.a"]
    assert refused[3].startswith("output must have at most 65536 bytes encoded; got 655")
    assert not ended.HasField("output")


async def test_threads_may_report_too(client: AsyncJobClient, serving: Serving, kind: str):
    seen = threading.Event()

    def handler(ctx: ChunkContext) -> None:
        ctx.progress(items_completed=3)
        assert seen.wait(BOUND)

    job = (await client.create_job(kind, item_count=10)).job
    async with serving({kind: handler}), client.watch(job.job_id, timeout=CALL_TIMEOUT) as messages:
        async for message in messages:
            if message.job.progress.items_completed == 3 and not seen.is_set():
                assert message.job.progress.percent == pytest.approx(30)
                seen.set()
    assert seen.is_set()


async def test_an_exception_fails_the_attempt_and_it_is_retried(client: AsyncJobClient, serving: Serving, kind: str):
    attempts = 0

    async def handler(ctx: ChunkContext) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise KeyError("colour")

    job = (await client.create_job(kind, retry_policy=AT_ONCE)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, attempts) == (JobState.COMPLETED, 2)
    assert ChangeType.CHUNK_FAILED in await changes(client, job.job_id)


async def test_a_failure_reports_what_where_and_that_it_is_final(client: AsyncJobClient, serving: Serving, kind: str):
    async def handler(ctx: ChunkContext) -> None:
        ctx.progress(stage="decode")
        raise NotRetryable("the file is damaged", code="DAMAGED")

    job = (await client.create_job(kind, retry_policy=AT_ONCE)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.FAILED
    assert (ended.error.code, ended.error.message, ended.error.stage) == ("DAMAGED", "the file is damaged", "decode")
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].attempt == 1


async def test_a_busy_worker_ends_a_chunk_and_claims_the_next_in_one_commit(
    client: AsyncJobClient, serving: Serving, kind: str
):
    async def handler(ctx: ChunkContext) -> None:
        if ctx.chunk.index == 5 and ctx.chunk.attempt == 1:
            raise RetryLater(timedelta(days=1))

    job = (await client.create_job(kind, item_count=10, chunk_size=1)).job
    async with serving({kind: handler}, concurrency=1), client.watch(job.job_id) as messages:
        async for message in messages:
            if message.job.chunks_summary.completed == 9:
                break
    events = [event async for event in client.list_events(job.job_id, order=EventOrder.POSITION_ASC)]
    both = [event for event in events if {change.type for change in event.changes} & ENDS and len(event.changes) > 1]
    assert len(both) == 9, "each but the last end is in one commit with a claim"


async def test_a_handler_reports_when_to_try_again(client: AsyncJobClient, serving: Serving, kind: str):
    async def handler(ctx: ChunkContext) -> None:
        raise RetryLater(timedelta(hours=2), "HTTP 429", code="TOO_MANY_REQUESTS")

    job = (await client.create_job(kind, retry_policy=AT_ONCE)).job
    async with serving({kind: handler}), client.watch(job.job_id) as messages:
        async for message in messages:
            if ChangeType.CHUNK_FAILED in [change.type for change in message.event.changes]:
                break
    chunk = (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 1)
    assert (chunk.error.code, chunk.error.message) == ("TOO_MANY_REQUESTS", "HTTP 429")
    waits = chunk.next_attempt_time.ToDatetime() - chunk.start_time.ToDatetime()
    assert timedelta(hours=2) <= waits < timedelta(hours=3)


async def test_the_last_attempt_is_final_also_with_a_delay(client: AsyncJobClient, serving: Serving, kind: str):
    async def handler(ctx: ChunkContext) -> None:
        raise RetryLater(timedelta(0))

    job = (await client.create_job(kind, max_attempts=2)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, ended.error.code) == (JobState.FAILED, "RetryLater")
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].attempt == 2


async def test_a_handler_releases_its_chunk_without_a_counted_attempt(
    client: AsyncJobClient, serving: Serving, kind: str
):
    async def handler(ctx: ChunkContext) -> None:
        ctx.progress(message="the disk is full")
        ctx.release(after=timedelta(hours=2), reason="no space")

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}), client.watch(job.job_id) as messages:
        async for message in messages:
            released = [change for change in message.event.changes if change.type == ChangeType.CHUNK_RELEASED]
            if released:
                break
    assert released[0].reason == "no space"
    chunk = (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0]
    assert (chunk.state, chunk.attempt, chunk.progress.message) == (ChunkState.PENDING, 0, "the disk is full")
    assert (
        timedelta(hours=2) <= chunk.next_attempt_time.ToDatetime() - chunk.start_time.ToDatetime() < timedelta(hours=3)
    )


async def test_a_worker_claims_the_next_chunk_with_the_release_of_one(
    client: AsyncJobClient, serving: Serving, kind: str
):
    def handler(ctx: ChunkContext) -> None:
        if ctx.chunk.index == 0 and not ctx.last_checkpoint:
            ctx.checkpoint({"again": True})
            ctx.release(after=timedelta(seconds=0.1))

    job = (await client.create_job(kind, item_count=2, chunk_size=1)).job
    async with serving({kind: handler}, concurrency=1):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    events = [event async for event in client.list_events(job.job_id, order=EventOrder.POSITION_ASC)]
    [released] = [event for event in events if ChangeType.CHUNK_RELEASED in {change.type for change in event.changes}]
    assert ended.state == JobState.COMPLETED
    assert [change.type for change in released.changes] == [ChangeType.CHUNK_RELEASED, ChangeType.CLAIMED]


async def test_a_chunk_released_for_no_time_is_claimed_again_at_once(
    client: AsyncJobClient, serving: Serving, kind: str
):
    calls = 0

    def handler(ctx: ChunkContext) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            ctx.release()

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, calls) == (JobState.COMPLETED, 2)
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].attempt == 1


@pytest.mark.parametrize(
    ("delay", "error"), [(timedelta(seconds=-1), ValueError), (timedelta(days=8), ValueError), (30, TypeError)]
)
def test_a_delay_that_the_service_would_refuse_is_an_error(delay: timedelta, error: type[Exception]):
    with pytest.raises(error, match="delay"):
        RetryLater(delay)
    with pytest.raises(error, match="delay"):
        FakeContext().release(after=delay)


async def job_with_full_artifacts(client: AsyncJobClient, kind: str) -> str:
    """Create a job of three chunks, the first of which has reported as many artifacts of the job as it may have."""
    job = (await client.create_job(kind, item_count=3, chunk_size=1)).job
    [claimed] = await client.leases.claim_chunks([kind], worker="w")
    full = ProgressReport(job_artifacts={f"a{n}": Artifact(uri="s3://b/k") for n in range(100)})
    await client.leases.complete_chunks([ChunkCompletion(lease_token=claimed.lease.token, progress=full)])
    return job.job_id


@pytest.mark.guarantee("3c.6")
async def test_a_refused_report_fails_its_own_chunk_only(client: AsyncJobClient, serving: Serving, kind: str):
    job_id = await job_with_full_artifacts(client, kind)

    async def handler(ctx: ChunkContext) -> None:
        if ctx.chunk.index == 1:
            ctx.artifact("one more", uri="s3://b/k", job=True)
            await asyncio.Event().wait()
        ctx.progress(items_completed=1)

    async with serving({kind: handler}):
        ended = await client.wait(job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, ended.error.code, ended.error.chunk_index) == (
        JobState.FAILED,
        "InvalidFieldError",
        1,
    )
    assert ended.chunks_summary.completed == 2


async def test_a_refused_completion_is_a_failure(client: AsyncJobClient, serving: Serving, kind: str):
    job_id = await job_with_full_artifacts(client, kind)

    async def handler(ctx: ChunkContext) -> None:
        ctx.artifact("one more", uri="s3://b/k", job=True)

    async with serving({kind: handler}):
        ended = await client.wait(job_id, timeout=CALL_TIMEOUT)
    assert (ended.state, ended.error.code) == (JobState.FAILED, "InvalidFieldError")
