"""While a database is away calls are UNAVAILABLE; nothing that was acknowledged goes with it, and servers heal."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc
import psycopg
import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from sqlalchemy import make_url

from tests.replicas.conftest import SETTINGS, Connect
from tests.support.api import Api
from tests.support.bounds import BOUND, within
from tests.support.databases import new_database
from tests.support.errors import Refusal, read
from tests.support.lives import assert_gapless, ended
from tests.support.postgres import connect as connect_to_database
from tests.support.postgres import end_connections, shut_off
from tests.support.server import Server
from tests.support.states import OK

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
Refusals = list[Refusal]
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
Answer = TypeVar("Answer")
AWAY = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a replica whose database the test takes away: what it logs then is no defect."""
    one = Server(new_database("postgresql", tmp_path), tmp_path, SETTINGS).start()
    yield one
    assert one.stop() == 0


class Callers:
    """Callers of every sort who go on whatever they hear, and what they heard."""

    def __init__(self, api: Api, kind: str) -> None:
        self._api = api
        self._kind = kind
        self.acknowledged: list[str] = []
        self.refusals: Refusals = []
        self.answers = 0
        self._news = asyncio.Condition()

    async def write(self) -> None:
        """Create one job after the other."""
        while True:
            if job := await self._heard(self._api.create(self._kind)):
                self.acknowledged.append(job.job_id)

    async def read(self) -> None:
        """List, and get what was written."""
        while True:
            await self._heard(self._api.list_jobs(filter={"kinds": [self._kind]}, page_size=5))
            if self.acknowledged:
                await self._heard(self._api.get(self.acknowledged[-1]))

    async def work(self) -> None:
        """Claim and complete."""
        while True:
            claimed = await self._heard(self._api.claim(self._kind, 3))
            if claimed:
                await self._heard(self._api.complete(*claimed))

    async def _heard(self, call: Awaitable[Answer]) -> Answer | None:
        try:
            answer = await within(call)
        except grpc.aio.AioRpcError as error:
            self.refusals.append(read(error))
            answer = None
        else:
            self.answers += 1
        async with self._news:
            self._news.notify_all()
        return answer

    async def refused(self, times: int) -> None:
        """Wait until the callers have been refused so many more times."""
        enough = len(self.refusals) + times
        async with asyncio.timeout(BOUND), self._news:
            await self._news.wait_for(lambda: len(self.refusals) >= enough)

    async def answered(self, times: int) -> None:
        """Wait until the callers have been answered so many more times."""
        enough = self.answers + times
        async with asyncio.timeout(BOUND), self._news:
            await self._news.wait_for(lambda: self.answers >= enough)


@asynccontextmanager
async def calling(api: Api, kind: str) -> AsyncIterator[Callers]:
    """Run callers for the length of the block."""
    callers = Callers(api, kind)
    tasks = [asyncio.create_task(one()) for one in (callers.write, callers.write, callers.read, callers.work)]
    try:
        yield callers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def assert_kept(api: Api, callers: Callers) -> None:
    """Hold that refusals said what they should, and that what was acknowledged is there."""
    assert {(output.code, output.reason) for output in callers.refusals} <= {AWAY}
    assert all(output.retry_delay for output in callers.refusals)
    for job_id in callers.acknowledged:
        assert (await api.get(job_id)).job_id == job_id


async def test_calls_while_the_database_is_away_are_unavailable_and_then_continue(
    server: Server, connect: Connect, kind: str
):
    api = connect(server)
    pid = server.pid
    async with calling(api, kind) as callers:
        for _ in range(2):
            await callers.answered(20)
            with shut_off(server.database):
                await callers.refused(20)
        await callers.answered(20)
    await assert_kept(api, callers)
    assert server.pid == pid


@pytest.mark.guarantee("3b.3")
async def test_who_floods_while_the_database_is_away_is_not_refused_for_overload(
    connect: Connect, tmp_path: Path, kind: str
):
    server = Server(new_database("postgresql", tmp_path), tmp_path, SETTINGS | {"MAX_QUEUED_COMMANDS": "1"}).start()
    api = connect(server)
    with shut_off(server.database):
        await refused_once(api.create(kind))
        flood = await asyncio.gather(*(api.create(kind) for _ in range(100)), return_exceptions=True)
    refusals = [read(answer) for answer in flood if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(refusals) == 100
    assert {(output.code, output.reason) for output in refusals} == {AWAY}
    assert server.stop() == 0


async def test_connections_that_are_ended_under_load_cost_refusals_and_nothing_else(
    server: Server, connect: Connect, kind: str
):
    api = connect(server)
    async with calling(api, kind) as callers:
        for _ in range(10):
            await callers.answered(10)
            assert end_connections(server.database) > 0
        await callers.answered(20)
    await assert_kept(api, callers)


async def test_a_watch_that_the_outage_ends_resumes_from_its_cursor(server: Server, connect: Connect, kind: str):
    api = connect(server)
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with api.watch_jobs(kind, mode=EVERY) as watch:
        messages = [await watch.change()]
        await watch.bookmark()
        with shut_off(server.database):
            await refused_once(api.complete(claimed))
        async with calling(api, f"{kind}.other") as callers:
            await callers.answered(1)
        assert {result.status for result in await api.complete(claimed)} == {OK}
        messages += await watch.through(ended)  # a watch that only waits does not notice
    assert_gapless(messages)
    assert (await api.get(job.job_id)).revision == messages[-1].job.revision


async def refused_once(call: Awaitable[object]) -> None:
    """Hold that a call is refused for want of a database."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        output = read(error)
        assert (output.code, output.reason) == AWAY
        assert output.retry_delay
    else:
        raise AssertionError("a call without a database is answered")


@pytest.fixture
def patient_server(tmp_path: Path) -> Iterator[Server]:
    """Return a replica whose transactions look for a deadlock after 5 s, within which a slow machine makes one."""
    database = new_database("postgresql", tmp_path)
    with connect_to_database(database) as connection:
        connection.execute(f"ALTER DATABASE {make_url(database).database} SET deadlock_timeout = '5s'")
    one = Server(database, tmp_path, SETTINGS | {"LOCK_SECONDS": "60", "STATEMENT_SECONDS": "60"})
    yield one.start()
    assert one.stop() == 0


async def test_a_deadlock_with_another_transaction_is_tried_again(patient_server: Server, connect: Connect, kind: str):
    server = patient_server
    api = connect(server)
    jobs = sorted([(await api.create(kind, item_count=1)).job_id for _ in range(2)])
    claimed = {one.job_id: one for one in await api.claim(kind, 2)}
    with connect_to_database(server.database) as connection:
        with connection.transaction():
            # The server will wait no longer than we do, and so it is the one that is told of the deadlock.
            connection.execute("SET LOCAL deadlock_timeout = '1min'")
            connection.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (jobs[1],))
            completing = asyncio.create_task(api.complete(*(claimed[job_id] for job_id in jobs)))
            await asyncio.to_thread(blocked, server.database)  # it holds the first job and waits for the second
            taking = asyncio.create_task(asyncio.to_thread(lock, connection, jobs[0]))
            await taking
        assert {result.status for result in await completing} == {OK}
    assert "lost a conflict" in server.log.read_text()
    assert server.defects() == []


def lock(connection: psycopg.Connection, job_id: str) -> None:
    """Wait for a job's row."""
    connection.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (job_id,))


def blocked(database: str) -> None:
    """Wait until a connection to a database waits for a lock."""
    with connect_to_database(database) as connection:
        while connection.execute(WAITING).fetchone() != (1,):
            pass
