"""`serve --processes`: several processes on one port, kept running by a supervisor and ended by it together."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from jobledger.v1.job_service_pb2 import WatchMode

from tests.operate.conftest import lines, scrape
from tests.replicas.conftest import SETTINGS, Connect
from tests.support.api import Api
from tests.support.bounds import BOUND, within
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.lives import assert_gapless, ended, live
from tests.support.server import Server
from tests.test_server import refused_to_start

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
OWN = {"processes": "2", "metrics_listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
MANY = 24  # connections: that all of them go to one of two processes has a chance of one in 8 million


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Server]:
    """Return a supervisor of two processes."""
    server = Server(
        new_database("postgresql", tmp_path),
        tmp_path,
        SETTINGS | OWN,
    ).start()
    yield server
    children = psutil.Process(server.pid).children() if server.process and server.process.poll() is None else []
    server.kill()
    for child in children:
        if child.is_running():
            child.kill()


def serving(server: Server) -> list[psutil.Process]:
    """Return the processes that serve."""
    return psutil.Process(server.pid).children()


def load_of(process: psutil.Process) -> int:
    """Count the connections of callers to a process."""
    return sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp"))


async def everywhere(connect: Connect, server: Server) -> list[Api]:
    """Return the APIs of many connections, all of which are open."""
    apis = [connect(server) for _ in range(MANY)]
    await asyncio.gather(*(within(api.channel.channel_ready()) for api in apis))
    return apis


async def test_both_processes_serve_and_are_one_ledger(supervised: Server, connect: Connect, kind: str):
    apis = await everywhere(connect, supervised)
    assert len(serving(supervised)) == 2
    for listener in ("metrics", "admin"):
        assert len({line["address"] for line in lines(supervised, listener)}) == 2  # each has a port of its own
    assert all(scrape(supervised, process).value("jobledger_build_info") for process in range(2))
    assert all(load_of(process) > 0 for process in serving(supervised))
    job = await apis[0].create(kind, item_count=4, chunk_size=1)
    watches = [api.watch_job(job.job_id, mode=EVERY) for api in apis]
    firsts = [await watch.change() for watch in watches]
    await live(apis[1], job)
    for watch, first in zip(watches, firsts, strict=True):
        async with watch:
            assert_gapless([first, *await watch.through(ended)])


async def test_a_process_that_is_killed_is_started_again(supervised: Server, connect: Connect, kind: str):
    job = await connect(supervised).create(kind)
    victim, other = serving(supervised)
    victim.kill()
    await asyncio.to_thread(victim.wait, BOUND)  # what had connected to it until now is lost with it
    # While one process is left it has every new connection, and later the one that was started again has some.
    for _ in range(10_000):
        found = set(serving(supervised)) - {victim, other}
        apis = [connect(supervised) for _ in range(4)]
        assert [(await api.get(job.job_id)).job_id for api in apis] == [job.job_id] * 4
        if any(load_of(process) > 0 for process in found):
            break
        await asyncio.gather(*(api.channel.close() for api in apis))
    assert any(load_of(process) > 0 for process in found)
    assert other.is_running()


async def test_sigterm_drains_all_and_ends_with_0(supervised: Server, connect: Connect, kind: str):
    apis = await everywhere(connect, supervised)
    children = serving(supervised)
    job = await apis[0].create(kind)
    watches = [api.watch_jobs(kind) for api in apis]
    for watch in watches:
        await watch.bookmark()
    supervised.terminate()
    for watch in watches:
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            await watch.until(lambda _: False)
        assert watch.cursor
    assert await asyncio.to_thread(supervised.wait) == 0
    assert not any(child.is_running() for child in children)
    assert supervised.defects() == []
    assert job.job_id


def test_sqlite_is_refused_with_a_sentence(tmp_path: Path):
    database = f"sqlite:///{tmp_path}/x.db"
    result = refused_to_start(
        tmp_path, "--processes", "2", "--database", database, "--listen", "127.0.0.1:0", status=78
    )
    assert "--processes: 2 processes need PostgreSQL" in result
    assert not list(tmp_path.glob("x.db*"))


def test_a_port_that_is_taken_is_refused_with_a_sentence(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ("--processes", "2", "--listen", where, "--database", new_database("postgresql", tmp_path))
        assert where in refused_to_start(tmp_path, *flags, status=78)
