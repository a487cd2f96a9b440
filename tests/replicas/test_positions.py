"""Positions are gapless and commit-ordered: twelve writers that stall at random, on three replicas, read throughout."""

import asyncio
import random
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger.v1.worker_service_pb2 import ClaimedChunk, HeartbeatRequest, LeaseReport

from tests.support.api import Api, fresh_kind
from tests.support.postgres import connect as connect_to_database
from tests.support.server import Server
from tests.support.states import OK
from tests.support.streams import Faults, faults

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
WRITERS, JOBS, BURSTS = 12, 50, 34  # 12 × 50 × 34 = 20,400 events, and those of creating and claiming
STALL = 0.03  # seconds, at most: longer than a transaction takes
LAST = "the last"
HOUR = timedelta(hours=1)


async def begin(api: Api) -> list[ClaimedChunk]:
    """Create a writer's jobs and claim them."""
    kind = fresh_kind()
    await asyncio.gather(*(api.create(kind) for _ in range(JOBS)))
    claimed = await api.claim(kind, JOBS, lease_duration=HOUR)
    assert len(claimed) == JOBS
    return claimed


async def write(apis: list[Api], claimed: list[ClaimedChunk], shared: ClaimedChunk) -> None:
    """Report on all jobs at once, burst after burst, each at any replica; some touch a job that all writers touch."""
    for burst in range(BURSTS):
        touched = [*claimed, shared] if random.random() < 0.2 else claimed
        reports = [
            LeaseReport(lease_token=one.lease.token, progress={"message": f"{shared.chunk.index} {burst}"})
            for one in touched
        ]
        answer = await random.choice(apis).work.Heartbeat(HeartbeatRequest(reports=reports, lease_duration=HOUR))
        assert {result.status for result in answer.results} == {OK}
        # The pause is part of the load: it lets others commit in between. Nothing is waited for.
        await asyncio.sleep(random.uniform(0, STALL) if random.random() < 0.5 else 0)


def stall(database: str, stop: threading.Event) -> int:
    """Hold random jobs, and now and then the counter, for random moments, so that transactions stall halfway."""
    stalls = 0
    with connect_to_database(database) as connection:
        while not stop.is_set():
            with connection.transaction():
                if random.random() < 0.1:
                    connection.execute("SELECT position FROM ledger FOR UPDATE")
                else:
                    connection.execute(
                        "SELECT job_key FROM jobs WHERE state = 'RUNNING' ORDER BY random() LIMIT 1 FOR UPDATE"
                    )
                stop.wait(random.uniform(0, STALL))
            stalls += 1
            stop.wait(random.uniform(0, STALL))
    return stalls


def poll(database: str, written: threading.Event) -> list[int]:
    """Read the table of events on from the last position, over and over, until all is written and read."""
    positions = [0]
    with connect_to_database(database) as connection:
        while True:
            ending = written.is_set()
            found = connection.execute(
                "SELECT position FROM events WHERE position > %s ORDER BY position", (positions[-1],)
            ).fetchall()
            positions += [position for (position,) in found]
            if ending and not found:
                return positions[1:]
            written.wait(0.002)


def newest(database: str) -> int:
    """Return the position of the newest event."""
    with connect_to_database(database) as connection:
        row = connection.execute("SELECT position FROM ledger").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


async def follow(apis: list[Api], at: int, cursor: bytes, *, moving: bool) -> list[int]:
    """Watch everything up to the last job; when `moving`, go on at the next replica every few hundred messages."""
    positions: list[int] = []
    while True:
        async with apis[at % len(apis)].watch_jobs(filter=None, cursor=cursor, mode=EVERY) as watch:
            left = random.randrange(300, 1_500) if moving else None
            while left != 0:
                message = await watch.change()
                positions.append(message.event.position)
                if message.job.display_name == LAST:
                    return positions
                left = left - 1 if left else None
            cursor, at = watch.cursor, at + 1


async def write_all(apis: list[Api]) -> None:
    """Run all writers at once, and then create the last job."""
    kind = fresh_kind()
    await apis[0].create(kind, item_count=WRITERS, chunk_size=1)
    shared = await apis[0].claim(kind, WRITERS, lease_duration=HOUR)
    claimed = await asyncio.gather(*(begin(apis[n % len(apis)]) for n in range(WRITERS)))
    await asyncio.gather(*(write(apis, mine, shared[n]) for n, mine in enumerate(claimed)))
    await apis[0].create(fresh_kind(), display_name=LAST)


async def test_readers_that_follow_throughout_see_every_position_once_and_in_order(
    three: list[Server], apis: list[Api], record_property: Callable[[str, object], None]
):
    database, written = three[0].database, threading.Event()
    cursor = (await apis[0].list_jobs(page_size=1)).cursor
    first = newest(database) + 1
    in_table = asyncio.create_task(asyncio.to_thread(poll, database, written))
    stalling = asyncio.create_task(asyncio.to_thread(stall, database, written))
    watching = [
        asyncio.create_task(follow(apis, at, cursor, moving=moving)) for at in range(3) for moving in (False, True)
    ]
    try:
        await write_all(apis)
        read = await asyncio.gather(*watching)
    finally:
        written.set()
    read.append(await in_table)
    last = newest(database)
    assert last - first > 20_000
    assert await stalling > 20
    assert [faults(positions, first, last) for positions in read] == [Faults()] * 7
    record_property("events", last - first + 1)
