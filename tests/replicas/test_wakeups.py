"""A wake-up is a hint: it makes replicas quick, and without any of them nothing is lost."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger.v1.worker_service_pb2 import ClaimedChunk

from tests.conftest import WITHOUT_POLLS
from tests.replicas.conftest import serving
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.lives import assert_gapless, ended, live
from tests.support.postgres import LISTENING, end_connections, listening
from tests.support.postgres import connect as connect_to_database
from tests.support.server import Server

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
LONG = timedelta(minutes=5)  # longer than any test may take: an answer that comes was woken, not timed out


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return three replicas that hear of each other's commits, whose claims get nothing unless they are woken."""
    directory = tmp_path_factory.mktemp("woken")
    with serving(new_database("postgresql", directory), directory, 3, **WITHOUT_POLLS) as servers:
        while listening(servers[0].database) < len(servers):
            pass
        yield servers


def deafen(database: str) -> int:
    """End the connections on which replicas hear of each other's commits; return how many there were."""
    return end_connections(database, LISTENING)


async def live_here_watched_there(apis: list[Api], kind: str) -> None:
    """Write at the first replica and hold that a watcher at each other one sees all of it."""
    job = await apis[0].create(kind, item_count=3, chunk_size=1)

    async def follow(api: Api) -> None:
        async with api.watch_job(job.job_id, mode=EVERY) as watch:
            assert_gapless(await watch.through(ended))

    await asyncio.gather(live(apis[0], job), *(follow(api) for api in apis[1:]))


async def test_a_replica_that_was_cut_off_from_wake_ups_delivers_everything_all_the_same(
    three: list[Server], apis: list[Api], kind: str
):
    job = await apis[0].create(kind)
    [claimed] = await apis[0].claim(kind)
    watches = [api.watch_job(job.job_id, mode=EVERY) for api in apis]
    streams = [[await watch.change()] for watch in watches]
    cuts = 0
    for n in range(60):
        if n % 20 == 10:
            cuts += deafen(three[0].database)
        await apis[n % 3].report(claimed, message=f"{n}")
    await apis[0].complete(claimed)
    for watch, messages in zip(watches, streams, strict=True):
        async with watch:
            messages.extend(await watch.through(ended))
        assert_gapless(messages)
        assert messages[-1].job.revision == 63
    assert cuts >= 3


async def test_a_replica_listens_again_after_its_connection_was_cut(three: list[Server], apis: list[Api], kind: str):
    database = three[0].database
    async with apis[0].watch_jobs(kind) as clock:
        while listening(database) < 3:
            await clock.bookmark()
        assert deafen(database) == 3
        while listening(database) < 3:
            await clock.bookmark()
    await live_here_watched_there(apis, kind)


async def waiting_claim(api: Api, kind: str) -> asyncio.Task[list[ClaimedChunk]]:
    """Begin a claim that waits, and return it once the server has had time to find nothing."""
    claim = asyncio.create_task(api.claim(kind, wait=LONG))
    await api.claim(kind)  # a later call on the same connection, which finds nothing either
    return claim


async def held_by_one(claims: list[asyncio.Task[list[ClaimedChunk]]], job: Job) -> None:
    """Hold that one claim, and only one, gets the job's chunk."""
    done, waiting = await asyncio.wait(claims, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
    [claimed] = [chunk for task in done for chunk in task.result()]
    assert claimed.job_id == job.job_id
    assert len(waiting) == len(claims) - 1
    for task in waiting:
        task.cancel()


@pytest.mark.guarantee("3b.5")
async def test_a_claim_that_waits_is_woken_by_a_job_that_another_replica_created(apis: list[Api], kind: str):
    claim = await waiting_claim(apis[0], kind)
    job = await apis[1].create(kind)
    await held_by_one([claim], job)


async def test_of_claims_that_wait_at_all_replicas_one_gets_the_chunk(apis: list[Api], kind: str):
    claims = [await waiting_claim(api, kind) for api in apis for _ in range(3)]
    await held_by_one(claims, await apis[1].create(kind))


async def test_a_claim_that_waits_gets_a_job_though_its_replica_cannot_listen(
    three: list[Server], apis: list[Api], kind: str
):
    claim = await waiting_claim(apis[0], kind)
    deafen(three[0].database)
    await held_by_one([claim], await apis[1].create(kind))


async def test_a_claim_that_waits_is_woken_by_a_chunk_that_came_back_at_another_replica(apis: list[Api], kind: str):
    job = await apis[1].create(kind)
    [claimed] = await apis[1].claim(kind)
    claim = await waiting_claim(apis[0], kind)
    await apis[2].release(claimed)
    await held_by_one([claim], job)


@pytest.mark.guarantee("3b.5")
async def test_replicas_are_notified_of_retries_that_another_one_found_due(
    three: list[Server], apis: list[Api], kind: str
):
    with connect_to_database(three[0].database) as connection:
        connection.execute("LISTEN jobledger")
        await apis[0].create(kind, retry_policy={"max_attempts": 2, "initial_backoff": timedelta(milliseconds=1)})
        await apis[0].fail(*await apis[0].claim(kind))
        received: list[list[str]] = []
        while ["default", kind, "1"] not in received:
            received += [notice.payload.split("\n")[1:] for notice in connection.notifies(timeout=0.2)]


async def test_a_notice_that_no_replica_of_this_version_sends_is_a_hint_like_others(
    three: list[Server], apis: list[Api], kind: str
):
    with connect_to_database(three[0].database) as connection:
        for payload in ("", "x", "x\ny", f"x\ndefault\n{kind}\nmany", "x\na\nb\n1\nc"):
            connection.execute("SELECT pg_notify('jobledger', %s)", [payload])
    await live_here_watched_there(apis, kind)
    claim = await waiting_claim(apis[0], kind)
    await held_by_one([claim], await apis[1].create(kind))
    assert [server.defects() for server in three] == [[], [], []]
