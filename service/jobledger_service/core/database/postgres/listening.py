"""Wake-ups between replicas by PostgreSQL's NOTIFY: they are hints, and the ledger has the events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import make_url

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.history import History, StaleDatabaseError
from jobledger_service.core.model.chunk import Queue

from .connections import bounded, each_host
from .dialect import CHANNEL

log = structlog.get_logger(__name__)

RECONNECT_SECONDS: Final = 1.0
"""Seconds until a lost connection is retried; meanwhile the feed polls."""

Ready = Callable[[Mapping[Queue, int]], None]
ListenConnection = psycopg.AsyncConnection[Any]


async def listen(database: Database, on_commit: Callable[[], None], on_ready: Ready) -> None:
    """Call `on_commit` when another replica has committed, and after each new connection; until cancelled.

    `on_ready` gets the number of chunks that wait again in a queue, when another replica has found due retries.
    """
    answer_timeout = database.limits.statement
    if database.pooling.by_transaction and not database.pooling.listen:
        log.warning("without database_listen other servers' commits are found by polling, up to a second later")
        return
    while True:
        try:
            async with _connected(database) as connection:
                async with asyncio.timeout(answer_timeout):
                    await connection.execute(f"LISTEN {CHANNEL}")
                on_commit()
                while True:
                    async for notice in connection.notifies(timeout=answer_timeout):
                        replica, *waiting = notice.payload.split("\n")
                        if replica == database.dialect.name:
                            continue
                        match waiting:
                            case [owner, kind, count] if count.isdecimal():
                                on_ready({(owner, kind): int(count)})
                            case _:  # also what a replica of another version may send
                                on_commit()
                    async with asyncio.timeout(answer_timeout):  # the connection was quiet: check it
                        await _check(connection, database.history)
                        await connection.execute(f"LISTEN {CHANNEL}")  # so that pg_stat_activity shows what it is for
        except (StaleDatabaseError, psycopg.Error, TimeoutError) as error:
            log.warning("the connection for wake-ups is lost", why=str(error) or "the database does not answer")
        await asyncio.sleep(RECONNECT_SECONDS)


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[ListenConnection]:
    """Open a connection for the length of the block; it is closed at once, whether or not the database answers."""
    connection = await _open(database)
    try:
        yield connection
    finally:
        connection.pgconn.finish()


async def _open(database: Database) -> ListenConnection:
    """Return a connection to the first of the database's hosts that is not stale, as the writer has one."""
    url = database.writer.url
    if database.pooling.listen:
        name = {"application_name": str(url.query["application_name"])}
        url = make_url(database.pooling.listen).set(drivername=url.drivername).update_query_dict(name)
    _, parameters = database.writer.dialect.create_connect_args(url)
    for host in each_host(parameters):
        try:
            connection = await psycopg.AsyncConnection.connect(autocommit=True, **bounded(host, database.limits))
        except psycopg.OperationalError as error:
            why: Exception = error
            continue
        try:
            await _check(connection, database.history)
        except (StaleDatabaseError, psycopg.Error) as error:
            connection.pgconn.finish()
            why = error
        else:
            return connection
    raise psycopg.OperationalError(str(why)) from why


async def _check(connection: ListenConnection, history: History) -> None:
    """Raise StaleDatabaseError for a connection to a database that is older than one that was seen."""
    [start] = await (await connection.execute(history.start_query)).fetchone() or [""]
    history.check_start(start)
