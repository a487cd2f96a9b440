"""Fixtures: databases of services that have an outbox, and relays."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jobledger_client import AsyncJobClient, ChangeType, EventOrder, outbox
from sqlalchemy import Engine, create_engine, func, make_url, select, text

from tests.support.bounds import CALL_TIMEOUT, within
from tests.support.databases import empty_postgres
from tests.support.mariadb import PROGRAM, empty_mariadb
from tests.support.server import Server

Relaying = Callable[..., AbstractAsyncContextManager[outbox.Relay]]

SQLITE, POSTGRESQL, MARIADB = "sqlite", "postgresql", "mariadb"
ALL = [SQLITE, POSTGRESQL, MARIADB]
SEVERAL_WRITERS = [POSTGRESQL, MARIADB]
EXPIRE = text("UPDATE jobledger_outbox SET due_time = 0")
"""What time does: leases and back-offs are over."""


@pytest.fixture(params=ALL)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a service's new database with an outbox."""
    match request.param:
        case "sqlite":
            url = f"sqlite:///{tmp_path / 'shop.db'}"
        case "postgresql":
            url = empty_postgres()
        case _:
            if PROGRAM is None or find_spec("pymysql") is None:
                pytest.skip("MariaDB or pymysql is not installed: apt-get install mariadb-server")
            url = empty_mariadb()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
        outbox.create_table(connection)
        outbox.create_table(connection)
    engine.dispose()
    return url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """Return an engine of the service's database."""
    opened = create_engine(make_url(database))
    yield opened
    opened.dispose()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncJobClient]:
    """Return a client of the shared server."""
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as opened:
        yield opened


@pytest.fixture
def relaying(engine: Engine, server: Server) -> Relaying:
    """Return a context manager in which a relay serves."""

    @asynccontextmanager
    async def relay(target: str = server.target, **settings: Any) -> AsyncIterator[outbox.Relay]:
        options = {"engine": engine, "poll_interval": timedelta(milliseconds=10)} | settings
        serving = outbox.Relay(options.pop("engine"), target, **options)
        task = asyncio.create_task(serving.serve())
        try:
            yield serving
        finally:
            serving.stop()
            await within(task)

    return relay


@pytest.fixture
def warned() -> Iterator[asyncio.Event]:
    """Return an event that is set by a warning of a relay."""
    event, handler = asyncio.Event(), logging.Handler(logging.WARNING)
    handler.emit = lambda _: event.set()  # type: ignore[method-assign]
    logging.getLogger("jobledger_client.outbox").addHandler(handler)
    yield event
    logging.getLogger("jobledger_client.outbox").removeHandler(handler)


def order(engine: Engine, number: int, kind: str, *, commit: bool = True, **job: Any) -> str:
    """Insert an order and its job in one transaction; return the id of the job."""
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": number})
        job_id = outbox.create_job(connection, kind, input={"order": number}, **job)
        if not commit:
            transaction.rollback()
    return job_id


def waiting(engine: Engine) -> int:
    """Count the rows that no server refused."""
    with engine.begin() as connection:
        refused = outbox.table.c.refused
        counted = connection.execute(select(func.count()).select_from(outbox.table).where(refused.is_(other=False)))
        return counted.scalar_one()


def rows(engine: Engine, *, refused_only: bool = False) -> list[outbox.OutboxRow]:
    with engine.begin() as connection:
        return outbox.list_rows(connection, refused_only=refused_only, limit=1_000)


async def emptied(engine: Engine, but: int = 0) -> None:
    """Wait until no row waits but so many."""

    async def wait() -> None:
        while await asyncio.to_thread(waiting, engine) != but:
            pass

    await within(wait())


async def created(client: AsyncJobClient, kind: str) -> list[str]:
    """Return the jobs that were created, in the order of the ledger, each as often as it was."""
    events = client.list_events(
        kinds=[kind], change_types=[ChangeType.CREATED], order=EventOrder.POSITION_ASC, page_size=500
    )
    return [event.job_id async for event in events]
