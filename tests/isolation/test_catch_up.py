"""A watcher that catches up reads on to the end, whatever others wrote, and pays for its own events alone."""

import asyncio
from collections.abc import Callable

import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.conftest import StartServer
from tests.isolation.conftest import Tenants
from tests.support.api import Api
from tests.support.lives import FAT, assert_ordered

pytestmark = pytest.mark.long  # megabytes are written, and servers are stopped and started

EVERY, LATEST = WatchMode.WATCH_MODE_EVERY, WatchMode.WATCH_MODE_LATEST
Connect = Callable[..., Api]
FAT_JOBS = 330  # events of 21 KB each: several pages, which end by bytes and not by rows


async def create_fat_jobs(api: Api, kind: str) -> None:
    """Create jobs with labels of 20 KB, some at a time."""
    for _ in range(0, FAT_JOBS, 30):
        await asyncio.gather(*(api.create(kind, labels=FAT) for _ in range(30)))


@pytest.mark.guarantee("3a.6")
async def test_a_catch_up_over_large_events_reaches_the_end(start_server: StartServer, connect: Connect, kind: str):
    server = start_server()
    async with connect(server).watch_jobs(kind) as watch:
        cursor = (await watch.bookmark()).cursor
    await create_fat_jobs(connect(server), kind)
    server.stop()
    server.start()
    for mode in (EVERY, LATEST):
        async with connect(server).watch_jobs(kind, cursor=cursor, mode=mode) as watch:
            messages = await watch.changes(FAT_JOBS)
            assert_ordered(messages)
            assert len({message.job.job_id for message in messages}) == FAT_JOBS
            assert (await watch.bookmark()).cursor == messages[-1].cursor


@pytest.mark.guarantee("3b.6")
async def test_another_owners_large_events_are_not_read_for_a_watcher(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    async with alice.watch_jobs(kind) as watch:
        cursor = (await watch.bookmark()).cursor
    first = await alice.create(kind)
    await create_fat_jobs(bob, kind)
    last = await alice.create(kind)
    tenants.restart()
    async with alice.watch_jobs(kind, cursor=cursor, mode=EVERY) as watch:
        assert [message.job.job_id for message in await watch.changes(2)] == [first.job_id, last.job_id]
        await watch.bookmark()
    assert tenants.scrape().value("jobledger_watch_history_events_total") == 2
