"""A database that holds jobs is upgraded by a second migration: nothing is lost, also while a server writes to it."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import VERSIONS, SchemaError, check, upgrade
from jobledger_service.core.model.history.writer_level import OUTDATED, WRITER_LEVEL

from tests.conftest import StartServer
from tests.operate.test_writer_level import query
from tests.support.api import Api
from tests.support.bounds import within
from tests.support.databases import empty_postgres
from tests.support.errors import read
from tests.support.server import Server
from tests.support.states import COMPLETED, FAILED, QUEUED, RUNNING
from tests.test_server import refused_to_start

pytestmark = pytest.mark.long  # servers are started, and drained by migrations

NEXT = [VERSIONS, Path(__file__).parent / "versions"]
"""The migrations of a version after this one."""

Connect = Callable[[Server], Api]


def upgrade_to_next(database: str) -> None:
    with closing(open_database(database)) as opened:
        assert upgrade(opened, NEXT)


@pytest.mark.guarantee("3d.12")
async def test_what_is_there_is_upgraded(start_server: StartServer, connect: Connect, tmp_path: Path):
    server = start_server()
    api = connect(server)
    jobs = {state: (await api.job_in(state, f"old.k{state}")).job_id for state in (QUEUED, RUNNING, COMPLETED, FAILED)}
    assert server.stop() == 0
    events = "SELECT position, job_key, message FROM events ORDER BY position"
    before = query(server.database, events)

    upgrade_to_next(server.database)
    greeted = query(server.database, "SELECT job_id, greeting FROM greetings JOIN jobs USING (job_key)")
    names = {QUEUED: "QUEUED", RUNNING: "RUNNING", COMPLETED: "COMPLETED", FAILED: "FAILED"}
    assert dict(greeted) == {job_id: f"hello {names[state]}" for state, job_id in jobs.items()}
    assert query(server.database, events) == before
    assert query(server.database, "SELECT greeted FROM ledger") == query(server.database, "SELECT position FROM ledger")
    with closing(open_database(server.database)) as opened:
        with pytest.raises(SchemaError, match="writer level"):
            upgrade(opened, NEXT)
        with pytest.raises(SchemaError, match="9000, is of a later version"):
            check(opened)
    result = refused_to_start(tmp_path, "--database", server.database, "--listen", "127.0.0.1:0", status=78)
    assert "9000, is of a later version: upgrade this server" in result


async def test_a_server_that_writes_meanwhile_leaves_nothing_that_the_migration_missed(
    start_server: StartServer, connect: Connect, store: str, kind: str
):
    if store == "sqlite":
        pytest.skip("an SQLite database has one server, which migrates before it writes")
    server = start_server(RECORD_SECONDS="3600")
    apis = [connect(server) for _ in range(2)]
    begun = [asyncio.Event() for _ in apis]

    async def create_until_refused(api: Api, created: asyncio.Event) -> tuple[list[str], str]:
        acknowledged: list[str] = []
        try:
            while True:
                acknowledged.append((await api.create(kind)).job_id)
                created.set()
        except grpc.aio.AioRpcError as error:
            return acknowledged, read(error).reason

    writing = [asyncio.create_task(create_until_refused(*one)) for one in zip(apis, begun, strict=True)]
    await within(asyncio.gather(*(one.wait() for one in begun)))
    await asyncio.to_thread(upgrade_to_next, server.database)
    ended = await within(asyncio.gather(*writing))
    assert await asyncio.to_thread(server.wait) == OUTDATED
    assert [reason for _, reason in ended] == ["DRAINING"] * 2
    kept = {job_id for (job_id,) in query(server.database, "SELECT job_id FROM jobs JOIN greetings USING (job_key)")}
    assert kept == {job_id for acknowledged, _ in ended for job_id in acknowledged}
    assert query(server.database, "SELECT count(*) FROM jobs") == [(len(kept),)]


def test_a_new_database_is_made_by_all_migrations(store: str, tmp_path: Path):
    database = f"sqlite:///{tmp_path}/new.db" if store == "sqlite" else empty_postgres()
    upgrade_to_next(database)
    assert query(database, "SELECT greeted, position, writer_level FROM ledger") == [(0, 0, WRITER_LEVEL)]
    assert query(database, "SELECT * FROM greetings") == []
