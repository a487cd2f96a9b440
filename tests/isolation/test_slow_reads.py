"""Reads that the database does not finish delay no other owner, no watch, no lease and no look for revoked keys."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.database.engines import OWNER_THREADS, Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.time_limits import TimeLimits
from jobledger_service.core.model.refusals.errors import StoreUnavailable
from jobledger_service.core.model.refusals.limit_errors import ReadTooLong

from tests.replicas.conftest import serving
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.postgres import connect as connect_to_database
from tests.support.states import CHUNK_PENDING, OK, chunk_states

BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
AT_ONCE = {"initial_backoff": timedelta(0)}
ENDLESS = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(1000)",
}


A_MOMENT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000) SELECT count(*) FROM n"


@pytest.fixture
def limited(store: str, tmp_path: Path) -> Iterator[Database]:
    """Return a database of which a read may take a second."""
    with closing(open_database(new_database(store, tmp_path), TimeLimits(read=1))) as opened:
        upgrade(opened)
        yield opened


def test_a_read_that_does_not_end_is_ended(limited: Database, store: str):
    for _ in range(2):  # as often as it is asked for, and the connection is good for others afterwards
        with pytest.raises(ReadTooLong), limited.read() as connection:
            connection.exec_driver_sql(ENDLESS[store])
        with limited.read() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


def test_a_read_of_many_statements_is_ended_as_a_whole(limited: Database):
    def read() -> None:
        with limited.read() as connection:
            while True:
                connection.exec_driver_sql(A_MOMENT)

    with pytest.raises(ReadTooLong):
        read()


@pytest.mark.guarantee("3b.5")
def test_a_read_that_is_ended_while_the_database_fails_is_not_refused_as_too_long(limited: Database, store: str):
    def fail_meanwhile() -> None:
        with limited.read() as connection:
            limited.availability.failed()
            connection.exec_driver_sql(ENDLESS[store])

    with pytest.raises(StoreUnavailable):
        fail_meanwhile()
    assert limited.availability.is_away
    with pytest.raises(StoreUnavailable), limited.read() as connection:
        connection.exec_driver_sql(ENDLESS[store])
    with limited.read() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert not limited.availability.is_away
    with pytest.raises(ReadTooLong), limited.read() as connection:
        connection.exec_driver_sql(ENDLESS[store])


def search(api: KeyedApi, kind: str) -> "asyncio.Task[object]":
    """List what full text finds."""
    return asyncio.ensure_future(api.list_jobs(filter={"kinds": [kind], "search": "word"}))


@contextmanager
def search_is_stuck(database: str) -> Iterator[None]:
    """Let no search find anything, nor give up, for the length of the block."""
    with connect_to_database(database) as connection, connection.transaction():
        connection.execute("LOCK TABLE job_words IN ACCESS EXCLUSIVE MODE")
        yield


def stuck(database: str, count: int) -> None:
    """Wait until so many statements wait for a lock."""
    with connect_to_database(database) as connection:
        while connection.execute(BLOCKED).fetchone() != (count,):
            pass


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.guarantee("3b.3")
@pytest.mark.long
async def test_lists_that_are_stuck_delay_nobody_else(tmp_path: Path, opened: AsyncExitStack, kind: str):
    database = new_database("postgresql", tmp_path)
    token = first_key(database)

    def api(target: str, key: str) -> KeyedApi:
        one = KeyedApi(target, key)
        opened.push_async_callback(one.channel.close)
        return one

    # The second server looks after no leases: those that end are the first one's.
    # Nothing that is stuck gives up within the test.
    patient = {f"{name}_SECONDS": "300" for name in ("READ", "STATEMENT", "LOCK")}
    with (
        serving(database, tmp_path, 1, auth="keys", **patient) as [first],
        serving(database, tmp_path, 1, auth="keys", DUE_SCAN_SECONDS="3600") as [second],
    ):
        admin = api(second.target, token)
        made = {owner: await admin.make(CALLER, WORKER, owner=owner) for owner in ("alice", "bob", "carol")}
        alice, bob, carol = (api(first.target, made[owner].token) for owner in ("alice", "bob", "carol"))
        elsewhere = api(second.target, made["bob"].token)
        job = await bob.create(kind, retry_policy=AT_ONCE)
        async with bob.watch_job(job.job_id, mode=WatchMode.WATCH_MODE_EVERY) as watch:
            await watch.change()
            with search_is_stuck(database):
                lists = [search(alice, kind) for _ in range(10)]
                await asyncio.to_thread(stuck, database, OWNER_THREADS - 1)
                # Of bob, at the same server: a list and a job; a lease that ends; a change that another server makes.
                listed = await bob.list_jobs(filter={"kinds": [kind]})
                assert [one.job_id for one in listed.jobs] == [job.job_id]
                assert chunk_states(await bob.get(job.job_id)) == [CHUNK_PENDING]
                await bob.claim(kind, lease_duration={"seconds": 1})
                assert (await watch.change()).job.chunks_summary.processing == 1
                assert (await watch.change()).job.chunks_summary.processing == 0
                [again] = await elsewhere.claim(kind, wait={"seconds": 30})
                await watch.until(lambda message: message.job.chunks_summary.processing == 1)
                assert {result.status for result in await elsewhere.complete(again)} == {OK}
                # And carol's key, which was revoked at another server, opens nothing.
                await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made["carol"].api_key.key_id))
                with refused(grpc.StatusCode.UNAUTHENTICATED, "API_KEY_REVOKED"):
                    while True:
                        await carol.list_jobs(page_size=1)
                assert not any(one.done() for one in lists)
            assert [list(page.jobs) for page in await asyncio.gather(*lists)] == [[]] * len(lists)
