"""Connections: for SQLite one writer, always, and readers beside it; for PostgreSQL a few, made anew when lost."""

import fcntl
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import IO, Any
from uuid import uuid4

from msgspec import json
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.pool import QueuePool, StaticPool

from jobledger_service import VERSION
from jobledger_service.domain.errors import Draining, StoreUnavailable
from jobledger_service.domain.writer_level import may_write
from jobledger_service.ledger.write_ports import RejectedStatementError

from .dialects import CHANNEL, Dialect, Postgres, Sqlite
from .writer_level import read_writer_level

log = logging.getLogger(__name__)

WRITER_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA cache_size=-65536",
)
READER_PRAGMAS = ("PRAGMA query_only=ON", "PRAGMA busy_timeout=5000", "PRAGMA cache_size=-16384")
_PASSWORD = re.compile(r"((?<=://)[^:/?#]*:(?=.*@)|(?:^|[?&\s])(?:ssl)?password\s*=)(?:.*(?=@)|[^&#]*)")
READERS = 3
"""As many as there are threads that read: two for calls, one for exports."""


class DatabaseInUseError(Exception):
    """Another server has this database open."""


class UnknownDatabaseError(ValueError):
    """The URL does not name a database that Jobledger can use."""


class Database:
    """The engines of one database; `file` is that of SQLite, None for a server elsewhere.

    `on_outdated` is called, on the thread that wanted to write, with the lowest writer level when it is above ours.
    """

    def __init__(
        self, dialect: Dialect, writer: Engine, reader: Engine, release: Callable[[], None], file: Path | None = None
    ) -> None:
        self.dialect = dialect
        self.writer = writer
        self.reader = reader
        self.file = file
        self.on_outdated: Callable[[int], object] = lambda _level: None
        self._release = release

    @property
    def shown(self) -> str:
        """The database's URL, without its password."""
        url = self.writer.url.difference_update_query(["application_name"])
        return without_password(url.render_as_string(hide_password=False))

    @property
    def single_writer(self) -> bool:
        """Whether no other process can write to this database."""
        return not self.dialect.has_row_locks

    def close(self) -> None:
        """Close all connections and give the database free."""
        self.reader.dispose()
        self.writer.dispose()
        self._release()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a writing transaction; raises Draining when only servers of a higher writer level may write."""
        with self.change_schema() as connection:
            lowest = read_writer_level(connection)
            if not may_write(lowest):
                self.on_outdated(lowest)
                raise Draining
            yield connection

    @contextmanager
    def change_schema(self) -> Iterator[Connection]:
        """Open a writing transaction on a schema of any version."""
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
            meaning = self.dialect.meaning(error)
            if isinstance(meaning, StoreUnavailable):
                log.error("the database fails: %s", error.orig)  # noqa: TRY400  a sentence says it all
            raise meaning from error.orig
        except StatementError as error:
            raise RejectedStatementError(str(error)) from error


def without_password(url: str) -> str:
    """Return a URL, also one that is none, such as libpq's `host=h password=p`, with `***` in place of passwords."""
    return _PASSWORD.sub(r"\1***", url)


def open_database(url: str) -> Database:
    """Open `sqlite:///FILE` or `postgresql+psycopg://…`; raises UnknownDatabaseError, DatabaseInUseError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _unknown(url) from None
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            return _sqlite(parsed, Path(parsed.database))
        case "postgresql":
            return _postgres(parsed.set(drivername="postgresql+psycopg"))
    raise _unknown(url)


def must_exist(url: str) -> None:
    """Raise UnknownDatabaseError for an SQLite file that is not there; any other database says so itself."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _unknown(url) from None
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise UnknownDatabaseError(f"{parsed.database} is not there: no server has made a database of it yet")


def _unknown(url: str) -> UnknownDatabaseError:
    return UnknownDatabaseError(
        f"{without_password(url)!r} is not a database URL like sqlite:///jobledger.db or postgresql+psycopg://user@host/name"
    )


def _postgres(url: URL) -> Database:
    name = uuid4().hex
    url = url.update_query_dict({"application_name": f"{CHANNEL}/{VERSION}/{name}"})
    # One connection writes, as there is one writer thread.
    writer = create_engine(url, pool_size=1, max_overflow=0, json_deserializer=json.decode)
    reader = create_engine(url, pool_size=READERS, max_overflow=0, json_deserializer=json.decode).execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )
    event.listen(reader, "connect", _expect_indexes)
    return Database(Postgres(name), writer, reader, lambda: None)


def _expect_indexes(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's
    """Every read has an index: a table is not read through because a guess says that little is in it."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        # A page of jobs is worth neither a compilation nor processes beside this one.
        cursor.execute("SET jit = off")
        cursor.execute("SET max_parallel_workers_per_gather = 0")
    connection.commit()


# For each parameter that is no number or text the driver looks for an adapter, and is three times as fast when there is
# one. Half of a job's columns are NULL. These adapters, none of which is Python, change nothing.
_same: dict[None, None] = {}
sqlite3.register_adapter(NoneType, _same.get)
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(bool, int)


def _sqlite(url: URL, file: Path) -> Database:
    lock = _lock(file)
    writer = _sqlite_engine(url, WRITER_PRAGMAS, "BEGIN IMMEDIATE", poolclass=StaticPool)
    # The connection that was used last is used next, so that few caches fill.
    reader = _sqlite_engine(url, READER_PRAGMAS, "BEGIN", poolclass=QueuePool, pool_size=READERS, pool_use_lifo=True)
    return Database(Sqlite(), writer, reader, lock.close, file)


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
        raise DatabaseInUseError(f"another server has {file} open; an SQLite database has one server") from None
    return lock


def _sqlite_engine(url: URL, pragmas: tuple[str, ...], begin: str, **pool: Any) -> Engine:  # noqa: ANN401  SQLAlchemy's
    engine = create_engine(url, connect_args={"check_same_thread": False}, json_deserializer=json.decode, **pool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
