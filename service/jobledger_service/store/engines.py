"""Connections: for SQLite one writer, always, and readers beside it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.pool import QueuePool, StaticPool

from jobledger_service.ledger.ports import RejectedStatementError

from .dialects import Dialect, Sqlite

WRITER_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA cache_size=-65536",
)
READER_PRAGMAS = ("PRAGMA query_only=ON", "PRAGMA busy_timeout=5000", "PRAGMA cache_size=-16384")


class DatabaseInUseError(Exception):
    """Another server has this database open."""


class UnknownDatabaseError(ValueError):
    """The URL does not name a database that Jobledger can use."""


class Database:
    """The engines of one database, with a lock that keeps a second server off an SQLite file."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise UnknownDatabaseError(f"{url!r} is not a database URL like sqlite:///jobledger.db") from None
        if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
            raise UnknownDatabaseError(f"{url!r} is not a database URL like sqlite:///jobledger.db")
        self._lock = _lock(Path(parsed.database))
        self.dialect: Dialect = Sqlite()
        self.single_writer = True
        self.writer = _sqlite_engine(url, WRITER_PRAGMAS, "BEGIN IMMEDIATE", poolclass=StaticPool)
        self.reader = _sqlite_engine(url, READER_PRAGMAS, "BEGIN", poolclass=QueuePool, pool_size=4)

    def close(self) -> None:
        """Close all connections and give the file free."""
        self.reader.dispose()
        self.writer.dispose()
        self._lock.close()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open the writing transaction."""
        with self.translated(), self.writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot."""
        with self.translated(), self.reader.begin() as connection:
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the ledger's errors in place of the database's."""
        try:
            yield
        except DBAPIError as error:
            raise self.dialect.meaning(error) from error
        except StatementError as error:
            raise RejectedStatementError(str(error)) from error


def _lock(file: Path) -> IO[str]:
    """Take the lock beside an SQLite file: several writers can damage its log, so that there is one server, always."""
    try:
        lock = file.with_name(file.name + ".lock").open("w")
    except OSError as error:
        raise UnknownDatabaseError(f"{file} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DatabaseInUseError(f"another server has {file} open; an SQLite database has one server") from None
    return lock


def _sqlite_engine(url: str, pragmas: tuple[str, ...], begin: str, **pool: Any) -> Engine:  # noqa: ANN401  SQLAlchemy's own
    engine = create_engine(url, connect_args={"check_same_thread": False}, **pool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
