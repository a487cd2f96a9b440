"""A replica that is killed takes nothing along: its watchers and its workers go on at the others."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMode

from tests.replicas.conftest import Connect, serving
from tests.support.api import Api, fresh_kind
from tests.support.databases import new_database
from tests.support.lives import assert_gapless
from tests.support.server import Server
from tests.support.states import COMPLETED, OK
from tests.support.streams import Faults, faults
from tests.support.watching import Watch

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
LAST = "the last"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Server]]:
    """Return two replicas of the test's own, the first of which is there to be killed."""
    with serving(new_database("postgresql", tmp_path), tmp_path, 2) as servers:
        yield servers


async def read_on(watch: Watch[WatchJobsResponse], into: list[WatchJobsResponse]) -> None:
    """Read a watch until its replica is gone, or has told of the last job."""
    try:
        into += [await watch.change()]
        while into[-1].job.display_name != LAST:
            into.append(await watch.change())
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the end of the replica is the end of it


async def write(first: Api, second: Api, enough: asyncio.Event, acknowledged: dict[str, int]) -> None:
    """Bring jobs to their end at the first replica, and when it is gone at the second."""
    api, kind = first, fresh_kind()
    for n in range(30):
        try:
            job = await api.create(kind, request_id=f"{kind}-{n}", item_count=2, chunk_size=1)
            claimed = await api.claim(kind, 2)
            assert {result.status for result in await api.complete(*claimed)} <= {OK}
            acknowledged[job.job_id] = (await api.get(job.job_id)).revision
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the replica is gone
            api = second
        if len(acknowledged) > 40:
            enough.set()


async def test_watchers_of_a_killed_replica_miss_and_repeat_nothing_at_another(two: list[Server], connect: Connect):
    doomed, other = connect(two[0]), connect(two[1])
    begin = (await doomed.list_jobs(page_size=1)).cursor
    watches = [doomed.watch_jobs(filter=None, cursor=begin, mode=EVERY) for _ in range(10)]
    seen: list[list[WatchJobsResponse]] = [[] for _ in watches]
    reading = [asyncio.create_task(read_on(*each)) for each in zip(watches, seen, strict=True)]
    enough, acknowledged = asyncio.Event(), dict[str, int]()
    writing = [asyncio.create_task(write(connect(two[0]), other, enough, acknowledged)) for _ in range(8)]
    await enough.wait()
    two[0].kill()
    await asyncio.gather(*reading, *writing)
    await other.create(fresh_kind(), display_name=LAST)
    for watch, messages in zip(watches, seen, strict=True):
        async with other.watch_jobs(filter=None, cursor=watch.cursor or begin, mode=EVERY) as resumed:
            await read_on(resumed, messages)

    last = seen[0][-1].event.position
    assert [faults([message.event.position for message in messages], 1, last) for messages in seen] == [Faults()] * 10
    known: dict[str, int] = {}
    assert_gapless(seen[0], known)
    for job_id, revision in acknowledged.items():
        assert known[job_id] == (await other.get(job_id)).revision >= revision


@pytest.mark.guarantee("3d.1")
async def test_leases_of_a_killed_replica_are_good_at_another(two: list[Server], connect: Connect, kind: str):
    doomed, other = connect(two[0]), connect(two[1])
    job = await doomed.create(kind, item_count=10, chunk_size=1)
    claimed = await doomed.claim(kind, 10)
    two[0].kill()
    assert (await other.report(claimed[0], percent=50)).status == OK
    assert {result.status for result in await other.complete(*claimed)} == {OK}
    assert (await other.get(job.job_id)).state == COMPLETED
