"""A user's program, for mypy: every line must pass the strict checks without a cast. See test_types.py."""

from datetime import UTC, datetime, timedelta

from jobledger_client import (
    AsyncJobClient,
    Backoff,
    ChangeType,
    ChunkContext,
    ChunkSpec,
    ChunkState,
    EngineTask,
    ExportFormat,
    FailurePolicy,
    JobClient,
    JobOrder,
    JobState,
    JobView,
    LeaseStatus,
    NotRetryable,
    RetryPolicy,
    Role,
    Stage,
    StatsStep,
    UsageDimension,
    WatchMessageType,
    WatchMode,
    WebhookEventType,
    Worker,
)
from jobledger_client.testing import FakeContext, running_server

worker = Worker(concurrency=2, cancel_grace=timedelta(seconds=1), drain_timeout=timedelta(minutes=1), api_key="")


@worker.handler("typed", timeout=timedelta(minutes=5))
async def handle(ctx: ChunkContext) -> None:
    for done, number in enumerate(ctx.items, start=1):
        ctx.progress(items_completed=done, message=str(number))
    if ctx.cancelled:
        raise NotRetryable("stopped", code="STOPPED")


@worker.handler("typed.plain")
def plain(ctx: ChunkContext) -> None:
    while not ctx.wait_cancelled(timedelta(milliseconds=1)):
        ctx.artifact("a", uri="s3://bucket/a", metadata={"pages": 3})


async def test(target: str) -> list[str]:
    ctx = FakeContext(items=range(3), input={"site": "example.org"}, stages={"a": 1}, cancel_after=3)
    await handle(ctx)
    plain(ctx)
    with running_server("--log-level", "warning") as server:
        assert server != target
    return [*ctx.reported_messages, *ctx.artifacts]


def produce(client: JobClient) -> str:
    created = client.create_job(
        "typed", max_attempts=5, chunks=[ChunkSpec(input={"page": 1}, item_count=2), {"page": 2}]
    )
    policy = RetryPolicy(max_attempts=5, initial_backoff=timedelta(seconds=2), jitter=0.1)
    client.create_job(
        "typed", retry_policy=policy, failure_policy=FailurePolicy.FAIL_FAST, stages=[Stage("a", 2.5), "b"]
    )
    again = client.create_job("typed", retry_policy=created.job.retry_policy, stages=created.job.stages).job
    client.cancel_job(again.job_id, grace_period=timedelta(0), timeout=timedelta(seconds=3))
    client.webhooks.create_webhook("https://example.org", event_types=[WebhookEventType.JOB_COMPLETED])
    client.admin.create_api_key("x", [Role.CALLER, Role.WORKER], expire_time=datetime.now(UTC) + timedelta(days=1))
    calls = [one.calls for one in client.admin.get_usage(group_by=[UsageDimension.METHOD])]
    points = client.statistics.get_job_stats(step=StatsStep.DAY).series
    size = len(b"".join(client.exports.export_jobs(ExportFormat.CSV, states=[JobState.FAILED])))
    return f"{calls} {len(points)} {size} {JobState(again.state).name}"


async def follow(job_id: str) -> list[str]:
    seen: list[str] = []
    backoff = Backoff(initial=timedelta(milliseconds=50), max_wait=timedelta(seconds=1))
    async with AsyncJobClient(timeout=timedelta(seconds=5), backoff=backoff) as client:
        async with client.watch(job_id, mode=WatchMode.EVERY, reconnect_timeout=None) as messages:
            async for message in messages:
                if message.type == WatchMessageType.DELETED or message.job.state in (
                    JobState.FAILED,
                    JobState.CANCELLED,
                ):
                    break
                match message.job.state:
                    case JobState.COMPLETED:
                        break
                if any(change.type == ChangeType.CLAIMED for change in message.event.changes):
                    seen += [chunk.worker for chunk in message.chunks if chunk.state == ChunkState.PROCESSING]
        async for job in client.list_jobs(order=JobOrder.PRIORITY_DESC, view=JobView.STATUS, states=[JobState.RUNNING]):
            seen.append(job.job_id)
    return seen


def report(client: JobClient) -> bool:
    task = EngineTask(client, "job", task_id="a", worker="w", lease_duration=timedelta(minutes=1))
    return task.progress(percent=50) is LeaseStatus.OK
