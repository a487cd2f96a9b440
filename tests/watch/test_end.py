"""How a watch ends: after a terminal state with OK, and on a server that drains with a bookmark and UNAVAILABLE."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchJobsRequest, WatchMode

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import refused
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED
from tests.support.watching import BOOKMARK, DELETED, SNAPSHOT, Ended, Watch
from tests.watch.conftest import Watching

EVERY = WatchMode.WATCH_MODE_EVERY
Connect = Callable[..., Api]


@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
async def test_a_watch_of_an_ended_job_is_its_snapshot_and_then_ok(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    async with api.watch_job(job.job_id) as watch:
        first = await watch.message()
        with pytest.raises(Ended):
            await watch.message()
    assert (first.type, first.job) == (SNAPSHOT, job)
    assert await watch.call.code() == grpc.StatusCode.OK


async def test_a_resume_after_the_last_message_sends_nothing_and_ends_with_ok(api: Api, kind: str):
    job = await api.create(kind)
    async with api.watch_job(job.job_id) as watch:
        await watch.change()
        await api.cancel(job.job_id)
        await watch.rest()
    async with api.watch_job(job.job_id, cursor=watch.cursor) as resumed:
        assert await resumed.rest() == []


async def test_a_watch_of_many_continues_after_a_job_has_ended(api: Api, kind: str):
    async with api.watch_jobs(kind) as watch:
        await watch.bookmark()
        for _ in range(3):
            job = await api.job_in(COMPLETED, kind)
            await watch.until(lambda message: message.job.state == COMPLETED)
        await api.delete(job.job_id)
        assert (await watch.change()).type == DELETED
        later = await api.create(kind)
        assert (await watch.change()).job.job_id == later.job_id


async def test_a_job_that_is_retried_is_watched_in_its_new_run(api: Api, kind: str):
    job = await api.job_in(FAILED, kind)
    await api.retry(job.job_id)
    async with api.watch_job(job.job_id) as watch:
        assert (await watch.message()).job.state == QUEUED
        await api.complete(*await api.claim(kind))
        assert (await watch.rest())[-1].job.state == COMPLETED


async def test_a_caller_that_leaves_harms_no_other(api: Api, kind: str, watching: Watching):
    job = await api.create(kind)
    async with watching(api, job) as stays:
        await stays.change()
        async with watching(api, job) as leaves:
            await leaves.change()
        await api.cancel(job.job_id)
        assert (await stays.change()).job.state == CANCELLED


async def test_a_deadline_ends_a_watch(api: Api, kind: str):
    request = WatchJobsRequest(filter={"kinds": [kind]})
    for seconds in (1, 10, 60):  # the first within which a slow machine opens a watch
        async with Watch(api.jobs.WatchJobs(request, timeout=seconds)) as watch:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch.rest()
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        if watch.cursor:
            break
    assert watch.cursor, "it was open before"


@pytest.mark.long  # servers are drained
async def test_a_draining_server_ends_watches_with_a_bookmark_and_then_unavailable(
    start_server: StartServer, connect: Connect, kind: str, watching: Watching
):
    server = start_server(BOOKMARK_SECONDS="15")
    api = connect(server)
    job = await api.create(kind)
    async with watching(api, job) as watch:
        await watch.change()
        await api.claim(kind)
        known = (await watch.change()).job.revision
        server.terminate()
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            last = await watch.message()
            while True:
                last = await watch.message()
    assert last.type == BOOKMARK
    assert await asyncio.to_thread(server.wait) == 0

    api = connect(server.start())
    async with watching(api, job, cursor=last.cursor, mode=EVERY) as resumed:
        await api.cancel(job.job_id)
        assert (await resumed.change()).event.revision == known + 1


async def test_ten_watches_of_a_draining_server_all_end(start_server: StartServer, connect: Connect, kind: str):
    server = start_server()
    api = connect(server)
    watches = [api.watch_jobs(kind) for _ in range(10)]
    for watch in watches:
        await watch.bookmark()
    server.terminate()
    for watch in watches:
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            await watch.rest()
    assert await asyncio.to_thread(server.wait) == 0


async def test_a_list_of_none_gives_a_cursor_to_watch_from(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server())
    cursor = (await api.list_jobs()).cursor
    async with api.watch_jobs(cursor=cursor) as watch:
        assert (await watch.message()).type == BOOKMARK
        await api.create(kind)
        assert (await watch.change()).event.position == 1
