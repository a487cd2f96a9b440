"""A network that loses every packet and closes no connection: calls end in time, and all is well afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc.aio import AioRpcError
from jobledger.v1.job_service_pb2 import WatchMode

from tests.replicas.conftest import SETTINGS, Connect
from tests.replicas.test_lost_database import AWAY, assert_kept, blocked, calling
from tests.support.bounds import BOUND, within
from tests.support.databases import new_database
from tests.support.errors import read
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.lives import assert_gapless, ended
from tests.support.postgres import connect as connect_to_database
from tests.support.proxy import DatabaseProxy, proxied
from tests.support.server import Server
from tests.support.states import OK

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

LIMITS = {
    "CONNECT_SECONDS": "3", "STATEMENT_SECONDS": "3", "LOCK_SECONDS": "2.9",
    "IDLE_SECONDS": "3", "READ_SECONDS": "3", "EXPORT_SECONDS": "3",
}  # fmt: skip
EVERY = WatchMode.WATCH_MODE_EVERY
LISTENING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN jobledger'
"""


@dataclass
class Distant:
    """A server whose database is behind a network that can fall silent, and callers of two owners."""

    server: Server
    proxy: DatabaseProxy
    callers: list[KeyedApi]


@pytest.fixture
async def distant(tmp_path: Path) -> AsyncIterator[Distant]:
    database = new_database("postgresql", tmp_path)
    token = first_key(database)
    with proxied(database) as proxy:
        server = Server(proxy.database, tmp_path, SETTINGS | LIMITS | {"auth": "keys"}).start()
        async with AsyncExitStack() as opened:
            admin = KeyedApi(server.target, token)
            opened.push_async_callback(admin.channel.close)
            keys = [await admin.make(CALLER, WORKER, owner=owner) for owner in ("alice", "bob")]
            callers = [KeyedApi(server.target, key.token) for key in keys]
            for one in callers:
                opened.push_async_callback(one.channel.close)
            yield Distant(server, proxy, callers)
        assert server.stop() == 0


@pytest.mark.guarantee("3b.5")
async def test_calls_while_nothing_comes_through_are_unavailable_and_then_all_owners_continue(
    distant: Distant, kind: str
):
    pid = distant.server.pid
    alice, bob = distant.callers
    watched = await alice.create(kind, item_count=1)
    [claimed] = await alice.claim(kind, lease_duration={"seconds": 600})
    async with (
        alice.watch_job(watched.job_id, mode=EVERY) as watch,
        calling(alice, f"{kind}.alice") as ours,
        calling(bob, f"{kind}.bob") as others,
    ):
        messages = [await watch.change()]
        for _ in range(2):
            await asyncio.gather(ours.answered(10), others.answered(10))
            with distant.proxy.silence():
                await asyncio.gather(ours.refused(3), others.refused(3))
        await asyncio.gather(ours.answered(10), others.answered(10))
        assert {result.status for result in await alice.complete(claimed)} == {OK}
        messages += await watch.through(ended)
    assert_gapless(messages)
    for callers in (ours, others):
        assert {(output.code, output.reason) for output in callers.refusals} == {AWAY}
    await assert_kept(alice, ours)
    await assert_kept(bob, others)
    assert distant.server.pid == pid


async def test_the_connection_for_wake_ups_is_made_again(distant: Distant):
    def listening() -> set[int]:
        with connect_to_database(distant.server.database) as connection:
            return {pid for (pid,) in connection.execute(LISTENING)}

    before = await asyncio.to_thread(until, listening)
    with distant.proxy.silence():
        await asyncio.to_thread(logged, distant.server, "the connection for wake-ups is lost")
    async with asyncio.timeout(BOUND):
        while not await asyncio.to_thread(listening) - before:
            pass


def until(found: Callable[[], set[int]]) -> set[int]:
    """Wait until something is found."""
    while not (pids := found()):
        pass
    return pids


def logged(server: Server, sentence: str) -> None:
    """Wait until a server logs a sentence."""
    while sentence not in server.log.read_text():
        pass


async def test_a_replica_that_is_cut_off_within_a_transaction_stops_of_its_locks(
    distant: Distant, connect: Connect, tmp_path: Path, kind: str
):
    alice, bob = distant.callers
    database = distant.proxy.origin
    held = await alice.create(kind)
    near = Server(database, tmp_path, SETTINGS | {"auth": "keys"}).start()
    alices, bobs = KeyedApi(near.target, alice.token), KeyedApi(near.target, bob.token)
    try:
        with connect_to_database(database) as connection, connection.transaction():
            connection.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (held.job_id,))
            cancelling = asyncio.create_task(alice.cancel(held.job_id))
            await asyncio.to_thread(blocked, database)
            distant.proxy.fall_silent()
            # The far replica has the lock now, and will never hear of it.
        cancelled, created = await asyncio.gather(alices.cancel(held.job_id), bobs.create(kind))
        assert cancelled.job.job_id == held.job_id
        assert created.owner == "bob"
        distant.proxy.speak()
        await asyncio.gather(cancelling, return_exceptions=True)
    finally:
        await asyncio.gather(alices.channel.close(), bobs.channel.close())
        near.kill()


async def test_no_call_waits_longer_than_the_one_bound_and_a_drain_does_not_wait_for_the_database(
    tmp_path: Path, connect: Connect, kind: str
):
    for_ever = {f"{name}_SECONDS": "600" for name in ("STATEMENT", "LOCK", "IDLE", "READ", "EXPORT")}
    settings = SETTINGS | for_ever | {"database_call_timeout": "1", "COMMIT_STALL_SECONDS": "0.5", "drain_timeout": "1"}
    with proxied(new_database("postgresql", tmp_path)) as proxy:
        server = Server(proxy.database, tmp_path, settings).start()
        api = connect(server)
        job = await api.create(kind, item_count=1)
        proxy.fall_silent()
        calls = [
            api.create(kind),  # a commit
            api.get(job.job_id),  # a small read, of many callers together
            api.list_jobs(),  # a read in the owner's turn
            api.claim(kind),
            api.watch_job(job.job_id).message(),
            api.watch_jobs(kind).message(),
            *(api.cancel(job.job_id) for _ in range(5)),  # what waits behind them
        ]
        for outcome in await within(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(outcome, AioRpcError), outcome
            refusal = read(outcome)
            assert (refusal.code, refusal.reason) == AWAY
            assert refusal.retry_delay is not None
        server.terminate()
        assert await asyncio.to_thread(server.wait) == 0
        assert "its last counts are lost" in server.log.read_text()
