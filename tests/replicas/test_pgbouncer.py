"""Servers behind a real pgbouncer, in its session and its transaction mode, with its defaults."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.database.engines import Database, Pooling, open_database
from jobledger_service.core.database.time_limits import TimeLimits
from sqlalchemy import text

from tests.replicas.conftest import Connect, serving
from tests.support.api import fresh_kind
from tests.support.databases import new_database
from tests.support.pgbouncer import needs_pgbouncer, pooled
from tests.support.postgres import connect as connect_to
from tests.support.postgres import listening
from tests.support.streams import Faults, faults

pytestmark = needs_pgbouncer

LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
CALLS = 400


@pytest.fixture(params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    """Return each mode in which pgbouncer can stand before a ledger."""
    mode: str = request.param
    return mode


@pytest.fixture
def direct(tmp_path: Path) -> str:
    return new_database("postgresql", tmp_path)


@pytest.fixture
def database(direct: str, mode: str) -> Iterator[Database]:
    with (
        pooled(direct, mode) as url,
        closing(open_database(url, TimeLimits(idle=1), Pooling(mode == "transaction", direct))) as opened,
    ):
        yield opened


def shown(connection: object, names: tuple[str, ...]) -> list[str]:
    return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]  # type: ignore[attr-defined]


def test_every_transaction_has_its_limits_and_leaves_none_to_others(database: Database, direct: str, mode: str):
    for _ in range(20):  # after some repetitions psycopg would prepare what it sends
        with database.write() as connection:
            assert shown(connection, LIMITS) == ["15s", "10s", "1s"]
        with database.read() as connection:
            assert shown(connection, (*LIMITS, "enable_seqscan", "jit")) == ["10s", "10s", "1s", "off", "off"]
    if mode == "transaction":
        address = database.writer.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with connect_to(address) as other, connect_to(direct) as itself:
            assert [other.execute(f"SHOW {name}").fetchone() for name in LIMITS] == [
                itself.execute(f"SHOW {name}").fetchone() for name in LIMITS
            ]


async def test_a_process_that_was_cut_off_with_a_lock_holds_up_nobody_for_long(database: Database, direct: str):
    with connect_to(direct) as observer:
        held = database.write()
        connection = held.__enter__()
        connection.execute(text("UPDATE ledger SET position = position"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with closing(open_database(direct)) as other, other.write() as unhindered:
            unhindered.execute(text("UPDATE ledger SET position = position"))
        assert observer.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None
        with pytest.raises(Exception, match="database"):
            held.__exit__(None, None, None)


async def test_servers_lose_nothing_and_refuse_nothing(direct: str, mode: str, tmp_path: Path, connect: Connect):
    kind = fresh_kind()
    settings = {"database_transaction_pooling": str(mode == "transaction").lower(), "database_listen": direct}
    with pooled(direct, mode) as url, serving(url, tmp_path, 2, **settings) as servers:
        apis = [connect(server) for server in servers]
        watch = apis[0].watch_jobs(kind, mode=WatchMode.WATCH_MODE_EVERY)
        await watch.bookmark()
        created = await asyncio.gather(*(apis[number % 2].create(kind) for number in range(CALLS)))
        seen = await watch.changes(CALLS)
        assert {one.job.job_id for one in seen} == {job.job_id for job in created}
        positions = [one.event.position for one in seen]
        assert faults(positions, positions[0], positions[0] + CALLS - 1) == Faults()
        claimed = [chunk for api in apis for chunk in await api.claim(kind, CALLS // 2)]
        assert len({one.job_id for one in claimed}) == len(claimed) == CALLS
        assert listening(direct) == len(servers)
