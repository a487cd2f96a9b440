"""Both clients against a real server."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ChunkRelease
from jobledger_client import (
    AsyncJobClient,
    AttemptOutcome,
    CancelOutcome,
    ChangeType,
    ChunkNotClaimableError,
    ChunkState,
    DeadlineExceededError,
    EtagMismatchError,
    EventOrder,
    FailurePolicy,
    ForeignCursorError,
    InvalidFieldError,
    JobChanges,
    JobClient,
    JobEndedError,
    JobNotEndedError,
    JobNotFoundError,
    JobOrder,
    JobState,
    JobView,
    PageTokenInvalidError,
    RequestIdReusedError,
    RetryPolicy,
    WatchMessageType,
    WatchMode,
)

from tests.conftest import StartServer
from tests.support.bounds import CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

LEFT = WatchMessageType.LEFT


def test_a_life_in_the_synchronous_client(sync_client: JobClient, kind: str):
    client = sync_client
    created = client.create_job(kind, item_count=1_000, input={"site": "x"}, labels={"team": "search"})
    job_id = created.job.job_id
    assert created.created
    job = client.get_job(job_id, view=JobView.FULL)
    assert (len(job.chunks), job.input["site"], job.labels["team"]) == (2, "x", "search")
    assert client.update_job(job_id, priority=9, display_name="Crawl").priority == 9

    claimed = client.leases.claim_chunks([kind], worker="w", max_chunks=5, lease_duration=timedelta(seconds=30))
    assert [one.chunk.index for one in claimed] == [0, 1]
    results = client.leases.complete_chunks([one.lease.token for one in claimed])
    assert len(results) == 2
    ended = client.wait(job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.COMPLETED
    assert [chunk.index for chunk in client.list_chunks(job_id, states=[ChunkState.COMPLETED], page_size=1)] == [0, 1]
    first = next(iter(client.list_events(job_id, order=EventOrder.POSITION_ASC)))
    assert first.changes[0].type == ChangeType.CREATED
    client.delete_job(job_id)
    with pytest.raises(JobNotFoundError):
        client.get_job(job_id)


async def test_a_life_in_the_asynchronous_client(client: AsyncJobClient, kind: str):
    created = await client.create_job(kind, stages={"decode": 1}, failure_policy=FailurePolicy.FAIL_FAST)
    job_id = created.job.job_id
    assert created.job.failure_policy == FailurePolicy.FAIL_FAST
    claimed = await client.leases.claim_chunk(job_id, 0, worker="w", task_id="celery-1")
    assert (
        await client.leases.claim_chunk(job_id, 0, worker="w", task_id="celery-1")
    ).lease.token == claimed.lease.token
    await client.leases.release_chunks([ChunkRelease(lease_token=claimed.lease.token, reason="not now")])
    answer = await client.cancel_job(job_id, reason="enough", grace_period=timedelta(seconds=1))
    assert answer.outcome == CancelOutcome.CANCELLED
    assert (await client.retry_job(job_id, reason="again")).state == JobState.QUEUED
    [attempt] = [one async for one in client.list_attempts(job_id, chunk_index=0)]
    assert (attempt.worker, attempt.task_id, AttemptOutcome(attempt.outcome)) == (
        "w",
        "celery-1",
        AttemptOutcome.RELEASED,
    )
    assert (await client.get_job(job_id, view=JobView.FULL)).attempts == [attempt]
    assert [job.job_id async for job in client.list_jobs(task_id="celery-1", kinds=[kind])] == [job_id]
    found = await client.batch_get_jobs([job_id, "no-such-job"], view=JobView.BASIC)
    assert ([job.job_id for job in found.jobs], list(found.missing_job_ids)) == ([job_id], ["no-such-job"])


async def test_a_list_is_read_over_its_pages_and_watched_from_its_cursor(client: AsyncJobClient, kind: str):
    ids = [(await client.create_job(kind, display_name=f"job {number}")).job.job_id for number in range(5)]
    assert [
        job.job_id async for job in client.list_jobs(kinds=[kind], page_size=2, order=JobOrder.CREATE_TIME_ASC)
    ] == ids
    page = await client.list_jobs(kinds=[kind], page_size=2).page()
    assert (page.total_size, bool(page.next_page_token)) == (5, True)
    watch = client.watch_jobs(cursor=page.cursor, kinds=[kind], timeout=CALL_TIMEOUT)
    await client.update_job(ids[2], priority=9)
    async with watch:
        message = await anext(watch)
    assert (message.job.job_id, message.job.priority) == (ids[2], 9)


async def test_a_watch_of_many_reports_which_jobs_left(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    async with client.watch_jobs(kinds=[kind], states=[JobState.QUEUED], timeout=CALL_TIMEOUT) as messages:
        assert (await anext(messages)).job.job_id == job_id
        await client.cancel_job(job_id)
        assert (await anext(messages)).type == LEFT


async def test_a_watch_continues_after_a_read_was_given_up(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    async with client.watch(job_id, timeout=CALL_TIMEOUT) as messages:
        assert (await anext(messages)).job.revision == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(messages)
        await client.update_job(job_id, priority=9)
        assert (await anext(messages)).job.revision == 2


@pytest.mark.long  # servers are stopped and started
async def test_a_watch_outlives_a_restart_of_the_server(start_server: StartServer, kind: str):
    server = start_server()
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        job_id = (await client.create_job(kind)).job.job_id
        async with client.watch(job_id, mode=WatchMode.EVERY, timeout=CALL_TIMEOUT) as messages:
            assert (await anext(messages)).job.revision == 1
            await client.update_job(job_id, priority=1)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await client.update_job(job_id, priority=2)
            await client.cancel_job(job_id)
            rest = [message.job.revision async for message in messages]
    assert rest == [2, 3, 4]


@pytest.mark.long  # servers are drained
def test_a_synchronous_watch_outlives_a_drain_of_the_server(start_server: StartServer, kind: str):
    server = start_server()
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        job_id = client.create_job(kind).job.job_id
        with client.watch(job_id, mode=WatchMode.EVERY, timeout=CALL_TIMEOUT) as messages:
            assert next(messages).job.revision == 1
            assert server.stop() == 0
            server.start()
            client.cancel_job(job_id)
            assert [message.job.state for message in messages] == [JobState.CANCELLED]


async def test_wait_ends_after_its_timeout(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    with pytest.raises(DeadlineExceededError):
        await client.wait(job_id, timeout=timedelta(seconds=0.05))
    with pytest.raises(JobNotFoundError):
        await client.wait("no-such-job", timeout=CALL_TIMEOUT)


async def test_errors_come_by_reason(client: AsyncJobClient, kind: str):
    job = (await client.create_job(kind, request_id=kind)).job
    with pytest.raises(RequestIdReusedError):
        await client.create_job(kind, request_id=kind, item_count=9)
    with pytest.raises(InvalidFieldError) as caught:
        await client.create_job(kind, priority=11, item_count=0)
    assert {violation.field for violation in caught.value.field_violations} == {"priority", "item_count"}
    with pytest.raises(InvalidFieldError) as caught:
        await client.update_job(job.job_id)
    assert [violation.field for violation in caught.value.field_violations] == ["update_mask"]
    with pytest.raises(JobNotEndedError):
        await client.delete_job(job.job_id)
    with pytest.raises(EtagMismatchError):
        await client.update_job(job.job_id, priority=3, etag="nonsense")
    with pytest.raises(PageTokenInvalidError):
        await client.list_jobs(page_token="nonsense").page()
    await client.cancel_job(job.job_id)
    with pytest.raises(JobEndedError):
        await client.update_job(job.job_id, priority=3)
    done = await completed(client, kind)
    with pytest.raises(JobEndedError):
        await client.retry_job(done.job_id)
    with pytest.raises(ChunkNotClaimableError):
        await client.leases.claim_chunk(done.job_id, 0, worker="w")


async def completed(client: AsyncJobClient, kind: str) -> Job:
    job = (await client.create_job(f"{kind}.done")).job
    claimed = await client.leases.claim_chunks([f"{kind}.done"], worker="w")
    await client.leases.complete_chunks([claimed[0].lease.token])
    return job


async def test_a_cursor_of_another_ledger_is_foreign(client: AsyncJobClient, start_server: StartServer, kind: str):
    async with AsyncJobClient(start_server().target) as other:
        await other.create_job(kind)
        cursor = (await other.list_jobs().page()).cursor
    with pytest.raises(ForeignCursorError):
        await anext(client.watch_jobs(cursor=cursor))


async def test_an_expiry_is_set_and_taken_away(client: AsyncJobClient, kind: str):
    job = (await client.create_job(kind)).job
    at = datetime(2100, 1, 1, tzinfo=UTC)
    assert (await client.update_job(job.job_id, expire_time=at)).expire_time.ToDatetime(tzinfo=UTC) == at
    assert not (await client.update_job(job.job_id, keep_forever=True)).HasField("expire_time")


async def test_time_limits_and_the_retry_policy_change_in_one_job_and_in_many(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind, run_timeout=timedelta(hours=1))).job.job_id
    job = await client.update_job(job_id, max_attempts=5, attempt_timeout=timedelta(minutes=5), no_run_timeout=True)
    assert (job.retry_policy.max_attempts, job.attempt_timeout.seconds, job.HasField("run_timeout")) == (5, 300, False)
    policy = RetryPolicy(initial_backoff=timedelta(seconds=2))
    changes = JobChanges(retry_policy=policy, run_timeout=timedelta(hours=2), no_attempt_timeout=True)
    run = (await client.bulk.update_jobs(changes, kinds=[kind])).job
    await client.wait(run.job_id)
    job = await client.get_job(job_id)
    assert (job.retry_policy.max_attempts, job.retry_policy.initial_backoff.seconds) == (3, 2)
    assert (job.run_timeout.seconds, job.HasField("attempt_timeout")) == (7_200, False)


async def test_values_that_nobody_can_understand_are_refused_before_they_are_sent(client: AsyncJobClient, kind: str):
    with pytest.raises(ValueError, match="a datetime must have a time zone"):
        await client.create_job(kind, expire_time=datetime(2100, 1, 1))  # noqa: DTZ001 - that is the case
    with pytest.raises(ValueError, match="expire_time and keep_forever exclude each other"):
        await client.update_job("x", expire_time=datetime(2100, 1, 1, tzinfo=UTC), keep_forever=True)
    with pytest.raises(ValueError, match="run_timeout and no_run_timeout exclude each other"):
        await client.update_job("x", run_timeout=timedelta(hours=1), no_run_timeout=True)
    with pytest.raises(ValueError, match="attempt_timeout and no_attempt_timeout exclude each other"):
        await client.update_job("x", attempt_timeout=timedelta(hours=1), no_attempt_timeout=True)


async def test_a_filter_that_is_spelled_wrong_means_no_jobs_at_all(client: AsyncJobClient, kind: str):
    job = (await client.create_job(kind)).job
    wrong: list[dict[str, Any]] = [{"kind": kind}, {"kinds": [kind], "state": ["FAILED"]}, {"kinds": kind}]
    for fields in wrong:
        with pytest.raises(TypeError, match=r"must be one of .* got '(kind|state)'|must be a list of strings"):
            await client.bulk.delete_jobs(states=[JobState.QUEUED], force=True, **fields)
        for call in (client.list_jobs, client.watch_jobs, partial(client.exports.export_jobs, "csv")):
            with pytest.raises(TypeError):
                call(**fields)
    assert (await client.get_job(job.job_id)).job_id == job.job_id


def test_the_target_may_be_a_channel_of_ones_own(server: Server, kind: str):
    with grpc.insecure_channel(server.target) as channel:
        with JobClient(channel=channel) as client:
            client.create_job(kind)
        with JobClient(channel=channel) as again:  # the first did not close what it does not own
            assert again.list_jobs(kinds=[kind]).page().total_size == 1
