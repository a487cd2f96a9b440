"""How a watch begins: with the state now when it has no cursor, and with what each message carries after."""

from uuid import uuid4

import grpc
import pytest
from jobledger.v1.chunk_pb2 import ChunkRange
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import FailurePolicy, Job, JobView
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse, WatchMode

from tests.bulk.runs import create_many
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import (
    CANCELLED,
    CHUNK_CANCELLED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    RUNNING,
)
from tests.support.watching import BOOKMARK, CHANGED, SNAPSHOT
from tests.watch.conftest import Watching

EVERY = WatchMode.WATCH_MODE_EVERY
FAIL_FAST = FailurePolicy.FAILURE_POLICY_FAIL_FAST


async def basic(api: Api, job: Job) -> Job:
    """Return a job in view BASIC."""
    return await api.get(job.job_id, view=JobView.JOB_VIEW_BASIC)


def chunks_told(message: WatchJobResponse | WatchJobsResponse) -> dict[int, int]:
    """Return the state of every chunk that a message tells of: its ranges first, then its chunks."""
    reported = {n: one.state for one in message.chunk_ranges for n in range(one.first_index, one.last_index + 1)}
    return reported | {chunk.index: chunk.state for chunk in message.chunks}


async def test_a_watch_of_one_job_begins_with_the_job_in_view_full(api: Api, kind: str):
    job = await api.job_in(RUNNING, kind, input={"a": 1}, item_count=3, chunk_size=1)
    async with api.watch_job(job.job_id) as watch:
        first = await watch.message()
    assert (first.type, first.job) == (SNAPSHOT, job)
    assert first.cursor
    assert not first.HasField("event")


async def test_a_watch_of_many_begins_with_the_newest_in_view_basic_and_then_a_bookmark(api: Api, kind: str):
    jobs = [await api.create(kind, input={"a": 1}) for _ in range(30)]
    async with api.watch_jobs(kind) as watch:
        messages = [await watch.message() for _ in range(31)]
    assert [message.type for message in messages] == [SNAPSHOT] * 30 + [BOOKMARK]
    assert [message.job for message in messages[:30]] == jobs[::-1]
    assert len({message.cursor for message in messages} - {b""}) == 31


async def test_a_watch_that_nothing_matches_begins_with_a_bookmark(api: Api, kind: str):
    async with api.watch_jobs(kind) as watch:
        first = await watch.message()
        assert (first.type, first.HasField("job")) == (BOOKMARK, False)
        job = await api.create(kind)
        second = await watch.change()
    assert (second.type, second.job.job_id) == (CHANGED, job.job_id)


async def test_more_jobs_than_a_page_are_all_there_at_the_start(api: Api, kind: str):
    ids = {*await create_many(api, kind, 520)}
    async with api.watch_jobs(kind) as watch:
        messages = await watch.changes(520)
        assert {message.job.job_id for message in messages} == ids
        assert (await watch.message()).type == BOOKMARK


async def test_each_change_carries_the_job_after_it_in_view_basic(api: Api, kind: str, watching: Watching):
    job = await api.create(kind, input={"a": 1}, chunks=[{"input": {"b": 1}}])
    async with watching(api, job) as watch:
        await watch.change()
        [claimed] = await api.claim(kind, worker="anna")
        message = await watch.change()
        assert message.job == await basic(api, job)
        assert message.event.commit_time == message.job.update_time
        [change] = message.event.changes
        assert (change.type, change.actor) == (ChangeType.CHANGE_TYPE_CLAIMED, "anna")
        [chunk] = message.chunks
        assert not chunk.HasField("input")
        claimed.chunk.ClearField("input")
        assert chunk == claimed.chunk


async def test_a_creation_reports_all_chunks_as_one_range(api: Api, kind: str):
    async with api.watch_jobs(kind) as watch:
        await watch.bookmark()
        await api.create(kind, item_count=10_000, chunk_size=1)
        message = await watch.change()
    assert list(message.chunk_ranges) == [ChunkRange(first_index=0, last_index=9_999, state=CHUNK_PENDING)]
    assert message.event.changes[0].type == ChangeType.CHANGE_TYPE_CREATED


async def test_a_cancellation_of_many_chunks_is_one_message(api: Api, kind: str, watching: Watching):
    job = await api.create(kind, item_count=2_000, chunk_size=1)
    await api.claim(kind)
    async with watching(api, job) as watch:
        await watch.change()
        await api.cancel(job.job_id, force=True)
        message = await watch.change()
    assert chunks_told(message) == dict.fromkeys(range(2_000), CHUNK_CANCELLED)
    assert message.job.state == CANCELLED


async def test_a_fast_failure_is_one_message(api: Api, kind: str, watching: Watching):
    job = await api.create(kind, item_count=3, chunk_size=1, failure_policy=FAIL_FAST)
    claimed = await api.claim(kind, 2)
    async with watching(api, job) as watch:
        await watch.change()
        await api.fail(claimed[0], not_retryable=True)
        message = await watch.change()
    assert chunks_told(message) == {0: CHUNK_FAILED, 1: CHUNK_CANCELLED, 2: CHUNK_CANCELLED}
    assert (message.job.state, message.job.error.chunk_index) == (FAILED, 0)


async def test_a_retry_and_a_claim_of_many_are_one_message_each(api: Api, kind: str):
    job = await api.job_in(CANCELLED, kind, item_count=5, chunk_size=1)
    async with api.watch_jobs(kind) as watch:
        await watch.bookmark()
        await api.retry(job.job_id)
        retried = await watch.change()
        await api.claim(kind, 5)
        claimed = await watch.change()
    assert chunks_told(retried) == dict.fromkeys(range(5), CHUNK_PENDING)
    assert chunks_told(claimed) == dict.fromkeys(range(5), CHUNK_PROCESSING)


async def test_a_lease_that_is_only_extended_is_no_message(api: Api, kind: str, watching: Watching):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with watching(api, job) as watch:
        await watch.change()
        await api.report(claimed)
        await api.complete(claimed)
        assert (await watch.change()).job.state == COMPLETED


async def test_the_messages_of_both_watches_are_the_same(api: Api, kind: str):
    job = await api.create(kind)
    async with api.watch_job(job.job_id, mode=EVERY) as one, api.watch_jobs(kind, mode=EVERY) as many:
        await one.message()
        await many.bookmark()
        mask = {"paths": ["priority"]}
        await api.update(job.job_id, update_mask=mask, priority=9)
        await api.cancel(job.job_id)
        for _ in range(2):
            left, right = await one.change(), await many.change()
            assert left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True)


async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str):
    job = await api.create(kind)
    with invalid("job_id"):
        await api.watch_job("").message()
    with invalid("mode"):
        await api.watch_job(job.job_id, mode=99).message()
    with invalid("mode"):
        await api.watch_jobs(kind, mode=99).message()
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.watch_job(uuid4().hex).message()


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("garbage", [b"x", b"\x00" * 32, b"\xff" * 1_000])
async def test_a_damaged_cursor_is_refused(api: Api, kind: str, watching: Watching, garbage: bytes):
    job = await api.create(kind)
    with invalid("cursor"):
        await watching(api, job, cursor=garbage).message()
