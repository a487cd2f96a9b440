"""A watcher that does not read: in LATEST it gets merged messages, in EVERY all of them, and others are not slowed."""

import asyncio
from collections.abc import Callable

import pytest
from jobledger.v1.job_service_pb2 import ListJobsRequest, WatchMode

from tests.bulk.runs import create_many
from tests.support.api import Api
from tests.support.lives import FAT, assert_gapless, assert_ordered, ended, live
from tests.support.server import Server
from tests.support.states import CHUNK_COMPLETED, COMPLETED
from tests.support.watching import BOOKMARK, DELETED, LEFT, SNAPSHOT
from tests.watch.conftest import Watching

pytestmark = [
    pytest.mark.long,  # thousands of large messages
    pytest.mark.one_store("messages wait, and are merged, in the server"),
]

LATEST, EVERY = WatchMode.WATCH_MODE_LATEST, WatchMode.WATCH_MODE_EVERY
Connect = Callable[..., Api]
MANY = 250  # changes of 20 kB each: far more than a connection holds


@pytest.fixture
def slow(connect: Connect, replicas: list[Server]) -> Api:
    """Return an API whose connection takes in little that nobody reads."""
    return connect(replicas[-1], **{"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 65_536})


async def change_often(api: Api, job_id: str, **last: object) -> None:
    """Change the name of a job many times, one commit each."""
    for n in range(MANY):
        fields = {"display_name": f"name {n}"} | (last if n == MANY - 1 else {})
        mask = {"paths": list(fields)}
        await api.update(job_id, update_mask=mask, **fields)


async def test_latest_merges_reports_how_many_and_ends_with_the_last(
    api: Api, slow: Api, kind: str, watching: Watching
):
    job = await api.create(kind, labels=FAT)
    async with watching(slow, job, mode=LATEST) as watch:
        messages = [await watch.change()]
        await change_often(api, job.job_id)
        messages += await watch.through(lambda message: message.job.display_name == f"name {MANY - 1}")
    assert_gapless(messages)
    assert_ordered(messages)
    assert len(messages) < MANY
    assert sum(message.merged_revision_count for message in messages) == MANY + 1 - len(messages)


async def test_every_skips_nothing_however_late_it_is_read(api: Api, slow: Api, kind: str, watching: Watching):
    job = await api.create(kind, labels=FAT)
    async with watching(slow, job, mode=EVERY) as watch:
        messages = [await watch.change()]
        await change_often(api, job.job_id)
        messages += await watch.changes(MANY)
    assert_gapless(messages)
    assert not any(message.merged_revision_count for message in messages)


async def test_one_who_reads_gets_all_while_one_who_does_not_is_stuck(
    api: Api, slow: Api, kind: str, watching: Watching
):
    job = await api.create(kind, labels=FAT)
    async with watching(slow, job, mode=EVERY) as stuck, watching(api, job, mode=EVERY) as lively:
        await stuck.message()
        await lively.change()
        writing = asyncio.create_task(change_often(api, job.job_id))
        messages = await lively.changes(MANY)
        await writing
        assert [message.job.display_name for message in messages] == [f"name {n}" for n in range(MANY)]


async def test_the_chunks_of_merged_messages_are_all_there(api: Api, slow: Api, kind: str, watching: Watching):
    job = await api.create(kind, labels=FAT, item_count=5, chunk_size=1)
    async with watching(slow, job, mode=LATEST) as watch:
        await watch.change()
        last = await live(api, job, reports=40)
        messages = await watch.through(ended)
    assert any(message.merged_revision_count for message in messages)
    reported = {chunk.index: chunk for message in messages for chunk in message.chunks}
    if not any(message.chunks_omitted for message in messages):
        assert {index: chunk.state for index, chunk in reported.items()} == dict.fromkeys(range(5), CHUNK_COMPLETED)
    assert messages[-1].job.chunks_summary == last.chunks_summary
    assert messages[-1].job.state == COMPLETED


async def test_the_terminal_state_arrives_and_the_stream_ends_with_ok(api: Api, slow: Api, kind: str):
    job = await api.create(kind, labels=FAT)
    async with slow.watch_job(job.job_id) as watch:
        await watch.change()
        await change_often(api, job.job_id)
        await api.cancel(job.job_id)
        messages = await watch.rest()
    assert ended(messages[-1])


async def test_the_deletion_arrives(api: Api, slow: Api, kind: str, watching: Watching):
    job = await api.create(kind, labels=FAT)
    async with watching(slow, job) as watch:
        await watch.change()
        await change_often(api, job.job_id)
        await api.delete(job.job_id, force=True)
        assert (await watch.until(lambda message: message.type == DELETED)).job.job_id == job.job_id


async def test_a_leaving_is_not_lost_when_messages_are_merged(api: Api, slow: Api, kind: str):
    job = await api.create(kind, labels=FAT)
    async with slow.watch_jobs(filter={"kinds": [kind], "min_priority": 5}, mode=LATEST) as watch:
        await watch.bookmark()
        await change_often(api, job.job_id, priority=1)
        await watch.until(lambda message: message.type == LEFT)
        await change_often(api, job.job_id, display_name="back", priority=9)
        message = await watch.change()
    assert (message.job.display_name, message.job.priority) == ("back", 9)


async def test_changes_while_a_snapshot_is_read_are_neither_missed_nor_sent_twice(api: Api, slow: Api, kind: str):
    labels = {f"{n}": "v" * 255 for n in range(8)}  # so that three pages of jobs are more than a connection holds
    job_ids = await create_many(api, kind, 1_200, labels=labels)
    async with slow.watch_jobs(kind, mode=EVERY) as watch:
        messages = [await watch.message()]
        for job_id in job_ids[::60]:
            await api.update(job_id, update_mask={"paths": ["labels"]})
        for job_id in job_ids[7::60]:
            await api.delete(job_id, force=True)
        await api.create(kind, display_name="the last")
        while (message := await watch.message()).type != BOOKMARK:
            assert message.cursor
            messages.append(message)

    known: dict[str, int] = {}
    for message in messages:
        before = known.pop(message.job.job_id, 0)
        assert message.job.revision == before + 1 or (message.type == SNAPSHOT and not before)
        if message.type != DELETED:
            known[message.job.job_id] = message.job.revision
    assert known == await revisions(api, kind)


async def revisions(api: Api, kind: str) -> dict[str, int]:
    """Return the revision of every job of a kind."""
    found: dict[str, int] = {}
    request = ListJobsRequest(filter={"kinds": [kind]}, page_size=500)
    while True:
        answer = await api.jobs.ListJobs(request)
        found |= {job.job_id: job.revision for job in answer.jobs}
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found
