"""One clock for a ledger: what the clocks of machines say harms no lease, and commit times never fall."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from jobledger.v1.job_service_pb2 import UpdateJobRequest, WatchMode
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.tables import events
from sqlalchemy import select

from tests.replicas.conftest import SETTINGS
from tests.support.api import fresh_kind
from tests.support.bounds import BOUND
from tests.support.clocks import DatabaseWithClock, ServerWithClock
from tests.support.databases import STORES, new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.postgres import execute
from tests.support.server import running
from tests.support.states import OK

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

ROUNDS, CHUNKS, SKEW, LEASE, HOUR = 12, 5, 60, 30, 3_600
OWNERS = ("alice", "bob")
Start = Callable[..., "Machines"]


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts a server for each clock, over one database of a store."""
    opened: list[Machines] = []

    def start(store: str, *ahead: int, database_ahead: int | None = None) -> Machines:
        opened.append(Machines(new_database(store, tmp_path), tmp_path, ahead, database_ahead))
        return opened[-1]

    yield start
    for one in opened:
        await one.close()


class Machines:
    """Servers over one database, on machines whose clocks are so many seconds ahead; and two owners' keys.

    With `database_ahead` the test sets the clock of the database too.
    """

    def __init__(
        self, database: str, directory: Path, ahead: tuple[int, ...], database_ahead: int | None = None
    ) -> None:
        self.database = database
        self._admin_token = first_key(database)
        self._database_clock = None if database_ahead is None else DatabaseWithClock(partial(execute, database))
        if self._database_clock is not None and database_ahead is not None:
            self._database_clock.set_clock(database_ahead)
        settings = SETTINGS | {"auth": "keys"}
        self.servers = [ServerWithClock(database, directory, settings, seconds) for seconds in ahead]
        for server in self.servers:
            server.start()
        self._opened = AsyncExitStack()
        self.keys: list[str] = []

    def api(self, server: ServerWithClock, token: str) -> KeyedApi:
        """Open a channel to a server, with a key."""
        opened = KeyedApi(server.target, token)
        self._opened.push_async_callback(opened.channel.close)
        return opened

    async def make_keys(self, **fields: object) -> None:
        """Make a key for each owner."""
        admin = self.api(self.servers[0], self._admin_token)
        self.keys = [(await admin.make(CALLER, WORKER, owner=owner, **fields)).token for owner in OWNERS]

    def set_clock(self, ahead: int) -> None:
        """Set the clock that the ledger follows: the database's if the test sets it, else the machine's."""
        for clock in self.servers if self._database_clock is None else [self._database_clock]:
            clock.set_clock(ahead)

    async def all_say(self, reason: str) -> None:
        """Wait until the health of each server has one reason, which contains this; without one none has a reason."""
        for server in self.servers:
            admin, deadline = self.api(server, self._admin_token).admin, time.monotonic() + BOUND
            reasons = [""]
            while not (any(reason in one for one in reasons) if reason else not reasons):
                assert time.monotonic() < deadline, reasons
                reasons = list((await admin.GetSystemHealth(GetSystemHealthRequest())).health.reasons)

    async def close(self) -> None:
        """Stop the servers."""
        await self._opened.aclose()
        for server in (one for one in self.servers if one in running):
            assert server.stop() == 0
            assert server.defects() == []


async def live(apis: list[KeyedApi], between: Callable[[int], None] = lambda _: None) -> list[int]:
    """Claim at one server and report at the next, over and over; return the statuses of all reports."""
    statuses, kind = [], fresh_kind()
    for number in range(ROUNDS):
        between(number)
        first, second = apis[number % len(apis)], apis[(number + 1) % len(apis)]
        await first.create(kind, item_count=CHUNKS, chunk_size=1)
        claimed = await second.claim(kind, CHUNKS, lease_duration={"seconds": LEASE})
        assert len(claimed) == CHUNKS
        statuses += [(await first.report(one)).status for one in claimed]
        statuses += [result.status for result in await first.complete(*claimed)]
    return statuses


def commit_times(database: str) -> list[int]:
    """Return the times of all commits, by position."""
    with closing(open_database(database)) as opened, opened.read() as connection:
        return list(connection.execute(select(events.c.commit_time).order_by(events.c.position)).scalars())


@pytest.mark.guarantee("3c.5")
async def test_replicas_whose_clocks_are_a_minute_apart_lose_no_lease_and_commit_in_order_of_time(machines: Start):
    one = machines("postgresql", 0, SKEW)
    await one.make_keys()
    apis = {key: [one.api(server, key) for server in one.servers] for key in one.keys}
    lives = [live(apis[key]) for key in one.keys for _ in range(3)]
    assert {status for statuses in await asyncio.gather(*lives) for status in statuses} == {OK}
    await one.close()
    times = commit_times(one.database)
    assert times == sorted(times)


@pytest.mark.parametrize("store", STORES)
async def test_a_clock_that_is_set_back_takes_no_lease_and_no_commit_back_with_it(machines: Start, store: str):
    one = machines(store, 0)
    [server] = one.servers
    await one.make_keys()
    lives = [live([one.api(server, key)], lambda number: server.set_clock(-SKEW * number)) for key in one.keys]
    assert {status for statuses in await asyncio.gather(*lives) for status in statuses} == {OK}
    assert server.stop() == 0
    server.start()  # on a machine whose clock is far behind the newest commit
    after = [live([one.api(server, key)]) for key in one.keys]
    assert {status for statuses in await asyncio.gather(*after) for status in statuses} == {OK}
    await one.close()
    times = commit_times(one.database)
    assert times == sorted(times)
    assert times[-1] > times[0]


async def leases_end_when_they_should(
    alice: KeyedApi, bob: KeyedApi, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Hold that a short lease of alice's ends, and that a long one of bob's does not."""
    kind = fresh_kind()
    job, _ = await asyncio.gather(alice.create(kind), bob.create(kind))
    [long] = await bob.claim(kind, lease_duration={"seconds": LEASE})
    async with alice.watch_job(job.job_id, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        await watch.change()
        await alice.claim(kind, lease_duration={"seconds": 2})
        meanwhile()
        assert (await watch.change()).job.chunks_summary.processing == 1
        assert (await watch.change()).job.chunks_summary.processing == 0
    assert {result.status for result in await bob.complete(long)} == {OK}


async def test_a_lease_ends_when_it_should_though_the_clock_was_set_back(machines: Start):
    one = machines("sqlite", 0)
    [server] = one.servers
    await one.make_keys()
    alice, bob = (one.api(server, key) for key in one.keys)
    await leases_end_when_they_should(alice, bob, lambda: server.set_clock(-SKEW * 60))


def following(machines: Start, store: str, ahead: int = 0) -> Machines:
    """Start servers whose ledger follows a clock that the test sets: on PostgreSQL two, and the database's clock."""
    return machines(store, ahead) if store == "sqlite" else machines(store, 0, 0, database_ahead=ahead)


async def no_early_job(one: Machines) -> None:
    """At each server a job begins in a second, and one that begins in ten minutes does not."""
    for key in one.keys:
        for api in (one.api(server, key) for server in one.servers):
            kind, now = fresh_kind(), datetime.now(UTC)
            held = await api.create(kind, schedule_time=now + timedelta(minutes=20))
            soon = await api.create(kind, schedule_time=now + timedelta(seconds=1))
            mask, sooner = {"paths": ["schedule_time"]}, now + timedelta(minutes=10)
            request = UpdateJobRequest(job_id=held.job_id, update_mask=mask, schedule_time=sooner)
            await api.jobs.UpdateJob(request)
            claimed = await api.claim(kind, 9, wait=timedelta(seconds=BOUND))
            assert [one.job_id for one in claimed] == [soon.job_id]
            assert await api.claim(kind, 9) == []


@pytest.mark.parametrize("store", STORES)
async def test_a_clock_that_is_an_hour_ahead_for_a_moment_leaves_no_trace(machines: Start, store: str):
    one = following(machines, store)
    await one.make_keys()
    apis = {key: [one.api(server, key) for server in one.servers] for key in one.keys}
    jump = asyncio.Event()

    def jumps(number: int) -> None:
        if number == 1:
            one.set_clock(HOUR)
            jump.set()

    async def lives(key: str) -> list[int]:
        before = await live(apis[key], jumps)
        await jump.wait()
        await one.all_say("ahead of the ledger's time")
        return before + await live(apis[key])

    assert {status for statuses in await asyncio.gather(*map(lives, one.keys)) for status in statuses} == {OK}
    await no_early_job(one)
    one.set_clock(0)
    await one.all_say("")
    await no_early_job(one)
    await one.close()
    times = commit_times(one.database)
    assert times == sorted(times)
    assert times[-1] < (time.time() + HOUR / 2) * 1_000_000


@pytest.mark.parametrize("store", STORES)
async def test_a_clock_that_was_an_hour_ahead_at_the_start_makes_no_job_early_and_no_lease_long(
    machines: Start, store: str
):
    one = following(machines, store, HOUR)
    await one.make_keys()
    apis = {key: [one.api(server, key) for server in one.servers] for key in one.keys}
    assert {status for key in one.keys for status in await live(apis[key])} == {OK}
    one.set_clock(0)
    await one.all_say("s ahead of the clock")
    await no_early_job(one)
    for server in one.servers:
        assert server.stop() == 0
        server.start()
    await one.all_say("s ahead of the clock")
    await one.make_keys(expire_time=datetime.now(UTC) + timedelta(minutes=10))
    alice, bob = (one.api(one.servers[-1], key) for key in one.keys)
    await no_early_job(one)
    await leases_end_when_they_should(alice, bob)
    await one.close()
    times = commit_times(one.database)
    assert times == sorted(times)
