"""The engines of an SQLite file: one connection that writes, some that read beside it, and the lock of the server."""

import fcntl
import sqlite3
from pathlib import Path
from types import NoneType
from typing import IO, Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import PoolProxiedConnection, QueuePool, StaticPool

from jobledger_service.core.database.cells import read_json
from jobledger_service.core.database.engines import (
    READ_CONNECTIONS,
    Database,
    DatabaseInUseError,
    Engines,
    UnknownDatabaseError,
)
from jobledger_service.core.database.history import History
from jobledger_service.core.database.time_limits import Deadline, TimeLimits

from .dialect import Sqlite

WRITER_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Some builds zero every page that becomes free: a large deletion then writes all its bytes again.
    "PRAGMA secure_delete=FAST",
    "PRAGMA busy_timeout=5000",
    "PRAGMA cache_size=-65536",
)
READER_PRAGMAS = ("PRAGMA query_only=ON", "PRAGMA busy_timeout=5000", "PRAGMA cache_size=-16384")
PROGRESS_STEPS = 1_000_000
"""Instructions of SQLite's machine, 20 to 50 ms, after which a read checks its deadline."""

# For each parameter that is no number or text the driver looks for an adapter, and is three times as fast when there is
# one. Half of a job's columns are NULL. These adapters, none of which is Python, change nothing.
_unchanged: dict[None, None] = {}
sqlite3.register_adapter(NoneType, _unchanged.get)
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(bool, int)

_STATEMENTS_KEPT: Final = 256
"""Prepared statements that a connection keeps: there is one for each size of a set of rows."""


def open_sqlite(url: URL, file: Path, limits: TimeLimits) -> Database:
    """Return a database in an SQLite file, which no other server may have open. Raises DatabaseInUseError."""
    lock = _lock(file)
    writer = _engine(url, WRITER_PRAGMAS, "BEGIN IMMEDIATE", poolclass=StaticPool)
    reader = _reader(url, limits, READ_CONNECTIONS)
    exporter = _reader(url, limits, 1)
    dialect = Sqlite()
    return Database(dialect, Engines(writer, reader, exporter), limits, lock.close, History(dialect.start), file)


def _reader(url: URL, limits: TimeLimits, connections: int) -> Engine:
    # use the connection that was used last, so that few caches fill
    pool: dict[str, Any] = {"pool_size": connections, "max_overflow": 0, "pool_use_lifo": True}
    engine = _engine(url, READER_PRAGMAS, "BEGIN", poolclass=QueuePool, pool_timeout=limits.connect, **pool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:  # noqa: ANN401  the driver's, SQLAlchemy's
        deadline = record.info["deadline"] = Deadline()
        connection.set_progress_handler(lambda: deadline.is_over, PROGRESS_STEPS)

    return engine


def _lock(file: Path) -> IO[str]:
    """Take the lock beside an SQLite file: several writers can damage its log, so that there is one server, always.

    A file that is new is its owner's alone: it holds the secrets that webhooks are signed with.
    """
    try:
        lock = file.with_name(file.name + ".lock").open("w")
        if not file.exists():
            file.touch(0o600)
    except OSError as error:
        raise UnknownDatabaseError(f"{file} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DatabaseInUseError(f"{file} is open in another server; an SQLite database allows only one") from None
    return lock


def _engine(url: URL, pragmas: tuple[str, ...], begin: str, **pool: Any) -> Engine:  # noqa: ANN401  SQLAlchemy's
    connect_args = {"check_same_thread": False, "cached_statements": _STATEMENTS_KEPT}
    engine = create_engine(url, connect_args=connect_args, json_deserializer=read_json, **pool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
        for pragma in pragmas:
            connection.execute(pragma)

    def begin_transaction(dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.cursor().execute(begin)

    # In place of a listener of the engine: with one, each statement looks for listeners of four events.
    engine.dialect.do_begin = begin_transaction  # type: ignore[method-assign]
    return engine
