"""Resuming: from any cursor of the same database, else refused with what to do about it; never a silent skip."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import Refusal, read, refused
from tests.support.lives import assert_gapless, ended, live
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED
from tests.support.watching import BOOKMARK, DELETED, Watch
from tests.watch.conftest import Watching

pytestmark = pytest.mark.long  # servers are stopped and started, and their history is trimmed

EVERY = WatchMode.WATCH_MODE_EVERY
Connect = Callable[..., Api]


async def cursor_now(api: Api) -> bytes:
    """Return the cursor of the end of the ledger."""
    return (await api.list_jobs(page_size=1)).cursor


async def refusal(watch: Watch) -> Refusal | None:
    """Return how a watch is refused at once, or None when it brings a message."""
    try:
        async with watch:
            await watch.message()
    except grpc.aio.AioRpcError as error:
        return read(error)
    return None


def oldest_cursor(result: Refusal) -> bytes:
    """Return the oldest cursor that is good, as a refusal tells it."""
    return base64.b64decode(result.metadata["oldest_cursor"], validate=True)


async def test_the_cursor_of_a_list_resumes_both_watches(api: Api, kind: str, watching: Watching):
    job = await api.create(kind, item_count=2, chunk_size=1)
    cursor = await cursor_now(api)
    await live(api, job)
    async with watching(api, job, cursor=cursor, mode=EVERY) as watch:
        messages = await watch.through(ended)
    assert_gapless(messages, {job.job_id: 1})


async def test_every_cursor_resumes_where_it_was_after_a_restart(
    start_server: StartServer, connect: Connect, kind: str, watching: Watching
):
    server = start_server()
    api = connect(server)
    job = await api.create(kind, item_count=2, chunk_size=1)
    cursor = await cursor_now(api)
    await live(api, job)
    async with watching(api, job, cursor=cursor, mode=EVERY) as watch:
        before = await watch.through(ended)
    assert server.stop() == 0
    api = connect(server.start())
    for n, message in enumerate(before[:-1]):
        async with watching(api, job, cursor=message.cursor, mode=EVERY) as watch:
            assert await watch.through(ended) == before[n + 1 :]


async def test_a_resume_reports_a_job_that_was_deleted_in_between(api: Api, kind: str, watching: Watching):
    job = await api.create(kind)
    cursor = await cursor_now(api)
    await api.cancel(job.job_id)
    await api.delete(job.job_id)
    async with api.watch_jobs(kind, cursor=cursor, mode=EVERY) as watch:
        cancelled, deleted = await watch.changes(2)
    assert (cancelled.job.state, deleted.type, deleted.event.job_id) == (CANCELLED, DELETED, job.job_id)


async def test_a_resume_reports_a_job_that_was_created_in_between(api: Api, kind: str):
    cursor = await cursor_now(api)
    job = await api.create(kind)
    async with api.watch_jobs(kind, cursor=cursor) as watch:
        message = await watch.change()
    assert (message.job.job_id, message.job.revision) == (job.job_id, 1)


async def test_a_cursor_of_another_database_is_refused(
    api: Api, kind: str, start_server: StartServer, connect: Connect, watching: Watching
):
    job = await api.create(kind)
    stranger = connect(start_server())
    cursor = await cursor_now(stranger)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "FOREIGN_CURSOR", "cursor"):
        await watching(api, job, cursor=cursor).message()


async def test_a_cursor_past_trimmed_history_is_refused_with_the_oldest_that_is_good(
    start_server: StartServer, connect: Connect, kind: str
):
    api = connect(start_server(event_retention="1"))
    begin = await cursor_now(api)
    job = await api.create(kind)
    await api.cancel(job.job_id)
    end = await cursor_now(api)
    async with api.watch_jobs() as clock:  # until both events are gone, perhaps one after the other
        while not (result := await refusal(api.watch_jobs(cursor=begin, mode=EVERY))) or oldest_cursor(result) != end:
            await clock.bookmark()
    assert (result.code, result.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED")
    with refused(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED"):
        await api.watch_job(job.job_id, cursor=begin).message()

    # What was trimmed lies before it, though nothing at all is left after it.
    async with api.watch_jobs(kind, cursor=oldest_cursor(result)) as from_oldest:
        await from_oldest.bookmark()
        later = await api.create(kind)
        assert (await from_oldest.change()).job.job_id == later.job_id


async def test_a_ledger_of_which_all_was_trimmed_continues_after_a_restart(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server(event_retention="1")
    api = connect(server)
    begin = await cursor_now(api)
    first = await api.create(kind)
    end = await cursor_now(api)
    async with api.watch_jobs() as clock:
        while not await refusal(api.watch_jobs(cursor=begin, mode=EVERY)):
            await clock.bookmark()
    server.stop()
    api = connect(server.start())
    async with api.watch_jobs(kind, cursor=end, mode=EVERY) as watch:
        await watch.bookmark()
        await api.cancel(first.job_id)
        message = await watch.change()
    assert (message.event.position, message.event.revision) == (2, 2)


async def test_a_cursor_ahead_of_a_restored_database_is_refused(
    start_server: StartServer, connect: Connect, kind: str, tmp_path: Path, watching: Watching
):
    server = start_server()
    if not server.database.startswith("sqlite:"):
        pytest.skip("the backup here is a copy of SQLite's file")
    job = await connect(server).create(kind)
    server.stop()
    file = Path(server.database.removeprefix("sqlite:///"))
    shutil.copy(file, tmp_path / "backup.db")

    api = connect(server.start())
    await api.cancel(job.job_id)
    cursor = await cursor_now(api)
    server.stop()
    for left in file.parent.glob(file.name + "*"):
        left.unlink()
    shutil.copy(tmp_path / "backup.db", file)
    api = connect(server.start())
    with refused(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_LOST"):
        await watching(api, job, cursor=cursor).message()


async def test_a_resume_at_another_replica_misses_and_repeats_nothing(
    replicas: list[Server], connect: Connect, api: Api, kind: str, in_view: Watching
):
    job = await api.create(kind, item_count=3, chunk_size=1)
    positions: list[int] = []
    cursor, n = await cursor_now(api), 0
    last = await live(api, job)
    while len(positions) < last.revision - 1:
        async with in_view(connect(replicas[n % len(replicas)]), job, cursor=cursor, mode=EVERY) as watch:
            messages = await watch.changes(min(3, last.revision - 1 - len(positions)))
            cursor, n = watch.cursor, n + 1
        positions += [message.event.position for message in messages]
    assert sorted(set(positions)) == positions
    assert messages[-1].job.state == COMPLETED


async def test_a_resume_at_the_end_begins_with_what_comes_next(api: Api, kind: str, watching: Watching):
    job = await api.create(kind)
    async with watching(api, job, cursor=await cursor_now(api), mode=EVERY) as watch:
        assert (await watch.message()).type == BOOKMARK
        await api.cancel(job.job_id)
        assert (await watch.change()).event.revision == 2
