"""A watcher that catches up reads on to the end, whatever others wrote, and pays for its own events alone."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.access.conftest import As
from tests.conftest import QUICK, StartServer
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.keys import CALLER, first_key
from tests.support.lives import FAT, assert_ordered
from tests.support.server import Server

EVERY, LATEST = WatchMode.WATCH_MODE_EVERY, WatchMode.WATCH_MODE_LATEST
Connect = Callable[..., Api]
FAT_JOBS = 330  # events of 21 KB each: several pages, which end by bytes and not by rows


async def create_fat_jobs(api: Api, kind: str) -> None:
    """Create jobs with labels of 20 KB, some at a time."""
    for _ in range(0, FAT_JOBS, 30):
        await asyncio.gather(*(api.create(kind, labels=FAT) for _ in range(30)))


@pytest.mark.parametrize("mode", [EVERY, LATEST])
async def test_a_catch_up_over_large_events_reaches_the_end(
    start_server: StartServer, connect: Connect, kind: str, mode: int
):
    server = start_server()
    async with connect(server).watch_jobs(kind) as watch:
        cursor = (await watch.bookmark()).cursor
    await create_fat_jobs(connect(server), kind)
    server.stop()
    server.start()
    async with connect(server).watch_jobs(kind, cursor=cursor, mode=mode) as watch:
        messages = await watch.changes(FAT_JOBS)
        assert_ordered(messages)
        assert len({message.job.job_id for message in messages}) == FAT_JOBS
        assert (await watch.bookmark()).cursor == messages[-1].cursor
