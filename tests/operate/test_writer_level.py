"""A server whose writer level is too low for its database writes nothing more, drains and ends; others go on."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.writer_level import raise_writer_level
from jobledger_service.core.model.history.vitals import StoreVitals
from jobledger_service.core.model.history.writer_level import OUTDATED, WRITER_LEVEL, may_write
from jobledger_service.core.model.refusals.errors import Draining, StoreUnavailable
from jobledger_service.features.health.rules import Status, Thresholds, Vitals, findings
from sqlalchemy import make_url, text

from tests.conftest import StartServer
from tests.support import postgres
from tests.support.bounds import BOUND, within
from tests.support.databases import new_database
from tests.support.errors import read
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server
from tests.support.watching import BOOKMARK, Watch
from tests.test_server import refused_to_start

EVERY = WatchMode.WATCH_MODE_EVERY
QUIET = {"TRIM_SECONDS": "3600", "RECORD_SECONDS": "3600"}
"""What makes a server write by itself now and then is put off."""
DRAINING = (grpc.StatusCode.UNAVAILABLE, "DRAINING")


def query(database: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement behind the servers' backs, and return its rows."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(str(make_url(database).database), timeout=BOUND)) as file, file:
            return file.execute(statement).fetchall()
    with postgres.connect(database) as connection:
        answer = connection.execute(statement)
        return answer.fetchall() if answer.description else []


def set_level(database: str, level: int) -> None:
    query(database, f"UPDATE ledger SET writer_level = {level}")  # noqa: S608


def outdated_lines(server: Server) -> int:
    return server.log.read_text().count(f"writer level {WRITER_LEVEL + 1} or above")


class Tenant:
    """An owner who creates, claims and completes until refused, and watches; and what was acknowledged to him."""

    def __init__(self, api: KeyedApi, kind: str) -> None:
        self.api, self.kind = api, kind
        self.created: list[str] = []
        self.completed: list[str] = []
        self.refusals: list[tuple[grpc.StatusCode | None, str]] = []
        self.begun = asyncio.Event()

    async def go_on(self, *works: Callable[[], Any]) -> None:
        """Do each until it is refused."""
        await asyncio.gather(*(self._until_refused(work) for work in works))

    async def _until_refused(self, work: Callable[[], Any]) -> None:
        try:
            while True:
                await work()
        except grpc.aio.AioRpcError as error:
            reported = read(error)
            self.refusals.append((reported.code, reported.reason))

    async def create(self) -> None:
        self.created.append((await self.api.create(self.kind)).job_id)

    async def work(self) -> None:
        claimed = await self.api.claim(self.kind, 3)
        if claimed:
            await self.api.complete(*claimed)
            self.completed += [one.job_id for one in claimed]
            self.begun.set()


async def drained(watch: Watch[Any]) -> list[Any]:
    """Return the messages of a stream until it ends as a draining server ends it: a bookmark, then UNAVAILABLE."""
    messages: list[Any] = []

    async def read_on() -> None:
        while True:
            messages.append(await watch.message())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_on()
    reported = read(caught.value)
    assert (reported.code, reported.reason) == DRAINING
    assert messages[-1].type == BOOKMARK
    return messages


@pytest.mark.guarantee("3d.10")
async def test_an_outdated_server_writes_nothing_more_and_drains(
    start_server: StartServer, store: str, tmp_path: Path, kind: str
):
    database = new_database(store, tmp_path)
    settings = {**QUIET, "auth": "keys", "MEASURE_SECONDS": "3600"}
    token = first_key(database)
    server = start_server(database, **settings)
    admin = KeyedApi(server.target, token)
    made = {owner: await admin.make(CALLER, WORKER, owner=owner) for owner in ("search", "video")}
    tenants = [Tenant(KeyedApi(server.target, one.token), kind) for one in made.values()]
    watches = [one.api.watch_jobs(kind, mode=EVERY) for one in tenants]
    reading = [asyncio.create_task(drained(watch)) for watch in watches]
    running = [asyncio.create_task(one.go_on(one.create, one.create, one.work)) for one in tenants]
    await within(asyncio.gather(*(one.begun.wait() for one in tenants)))

    set_level(database, WRITER_LEVEL + 1)
    await within(asyncio.gather(*running))
    received = await within(asyncio.gather(*reading))
    assert await asyncio.to_thread(server.wait) == OUTDATED
    assert outdated_lines(server) == 1
    assert server.defects() == []
    assert [one.refusals for one in tenants] == [[DRAINING] * 3] * 2

    # What is there is what was acknowledged, whole, and nothing else.
    for owner, one in zip(made, tenants, strict=True):
        states = dict(query(database, f"SELECT job_id, state FROM jobs WHERE owner = '{owner}'"))  # noqa: S608
        assert states.keys() == set(one.created)
        assert {job for job, state in states.items() if state == "COMPLETED"} == set(one.completed)
        counted = query(database, f"SELECT state, jobs FROM counts WHERE owner = '{owner}' AND kind = '' AND jobs <> 0")  # noqa: S608
        assert sorted(counted) == sorted((s, list(states.values()).count(s)) for s in set(states.values()))
    assert query(database, "SELECT max(position) = (SELECT position FROM ledger) FROM events") in [[(1,)], [(True,)]]
    assert query(database, "SELECT count(*) FROM job_words") == query(database, "SELECT count(*) FROM jobs")

    # It does not start again, and one of the level that is asked for goes on where the watches ended.
    output = refused_to_start(tmp_path, "--database", database, "--listen", "127.0.0.1:0", status=78)
    assert f"servers of writer level {WRITER_LEVEL + 1} or above; this one has {WRITER_LEVEL}" in output
    set_level(database, WRITER_LEVEL)
    later = start_server(database, **settings)
    for one, watch, messages in zip(made.values(), watches, received, strict=True):
        api = KeyedApi(later.target, one.token)
        job = await api.create(kind)
        async with api.watch_jobs(kind, mode=EVERY, cursor=watch.cursor) as resumed:
            seen = {message.job.job_id for message in messages}
            while (message := await resumed.change()).job.job_id != job.job_id:
                seen.add(message.job.job_id)
        assert seen - {""} == set(tenants[list(made.values()).index(one)].created)
        await api.channel.close()
    for one in [admin, *(tenant.api for tenant in tenants)]:
        await one.channel.close()


async def test_an_idle_server_notices_by_its_health(start_server: StartServer):
    server = start_server(**QUIET, MEASURE_SECONDS="0.1")
    set_level(server.database, WRITER_LEVEL + 1)
    assert await asyncio.to_thread(server.wait) == OUTDATED
    assert outdated_lines(server) == 1


@pytest.mark.long
def test_outdated_processes_are_not_started_again(store: str, start_server: StartServer):
    if store == "sqlite":
        pytest.skip("an SQLite database has one process")
    server = start_server(**QUIET, MEASURE_SECONDS="0.1", processes="2")
    set_level(server.database, WRITER_LEVEL + 1)
    assert server.wait() == OUTDATED
    assert "it is started again" not in server.log.read_text()


def test_levels_that_may_write():
    assert [may_write(level) for level in (0, WRITER_LEVEL, WRITER_LEVEL + 1)] == [True, True, False]


def test_health_reports_that_a_server_is_outdated():
    store = StoreVitals(100, "0001", 1_000, 10_000, writer_level=WRITER_LEVEL + 1)
    vitals = Vitals(store, 0.0, 0, 10, None, 0, None, None, 100, 0, 0)
    [found] = findings(vitals, Thresholds(database_latency=0.5, commit_stall=5, disk_free=1_000, webhook_age=60))
    assert found.status == Status.UNHEALTHY
    assert f"writer level {WRITER_LEVEL + 1} or above" in found.reason


def test_every_kind_of_write_is_refused(database: Database):
    received: list[int] = []
    database.on_outdated = received.append
    with database.write() as connection:
        raise_writer_level(connection, WRITER_LEVEL + 3)
    with pytest.raises(Draining), database.write():
        raise AssertionError("a transaction began")
    assert received == [WRITER_LEVEL + 3]
    with database.change_schema() as connection:
        raise_writer_level(connection, WRITER_LEVEL)
    with pytest.raises(Draining), database.write():
        raise AssertionError("the level never falls")


@contextmanager
def migrating(database: Database) -> Iterator[None]:
    """Raise the level as a migration does, on a connection of its own; it waits for nobody longer than 0.2 s."""
    other = open_database(database.writer.url.render_as_string(hide_password=False))
    with closing(other), other.change_schema() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '200ms'"))
        raise_writer_level(connection, WRITER_LEVEL + 1)
        yield


@pytest.mark.guarantee("3d.10")
def test_no_transaction_of_an_older_server_commits_after_the_level_was_raised(database: Database, store: str):
    if store == "sqlite":
        pytest.skip("an SQLite database has one server")

    def write() -> None:
        with database.write():
            pass

    with database.write(), pytest.raises(StoreUnavailable), migrating(database):
        raise AssertionError("it waited for nobody")
    with ThreadPoolExecutor(1) as thread:
        with migrating(database):
            waits = thread.submit(write)
            while not query(str(database.writer.url.render_as_string(hide_password=False)), WAITING):
                assert not waits.done()
        with pytest.raises(Draining):
            waits.result(BOUND)


WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
