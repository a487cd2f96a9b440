"""A database: its engines, its transactions, and what its errors mean."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jobledger_service.core.model.history.writer_level import may_write
from jobledger_service.core.model.refusals.errors import Draining, StoreUnavailable
from jobledger_service.core.model.refusals.limit_errors import ReadTooLong

from .beginning import TERM, Beginning, Beginnings
from .dialects import Dialect
from .history import History, StaleDatabaseError
from .rows.writes import ConflictError, RejectedStatementError
from .time_limits import Deadline, TimeLimits
from .writer_level import WRITTEN_LABELS

log = structlog.get_logger(__name__)

_PASSWORD = re.compile(r"((?<=://)[^:/?#]*:(?=.*@)|(?:^|[?&\s])(?:ssl)?password\s*=)(?:.*(?=@)|[^&#]*)")
OWNER_THREADS: Final = 3
"""Threads on which owners take turns. One is always free for other owners, whatever one owner requests."""
READ_CONNECTIONS = OWNER_THREADS + 3
"""The number of connections, one for each thread that reads, so that none waits for another's: those of callers' reads,
and one each for single jobs, the feed, and the duties. Exports have another one."""
_POSITION: Final = "position"
_FLOOR: Final = "floor"


class DatabaseInUseError(Exception):
    """Another server has this database open."""


class UnknownDatabaseError(ValueError):
    """The URL does not name a database that Jobledger can use."""


class Availability:
    """Whether the database answers: when a transaction last succeeded, and when one failed. Any thread may use it."""

    __slots__ = ("_failed_at", "_succeeded_at")

    def __init__(self) -> None:
        self._failed_at = -inf
        self._succeeded_at = -inf

    @property
    def is_away(self) -> bool:
        """Whether the database failed a transaction, and none has succeeded since."""
        return self._failed_at > self._succeeded_at

    def failed(self) -> None:
        """Record that the database failed a transaction: it cannot be reached, or did not answer."""
        self._failed_at = time.monotonic()

    def succeeded(self) -> None:
        """Record that a transaction succeeded."""
        self._succeeded_at = time.monotonic()

    def has_failed_since(self, moment: float) -> bool:
        """Whether the database failed a transaction at or after a time of the monotonic clock."""
        return self._failed_at >= moment


class Pooling(MsgStruct, frozen=True):
    """The pooler in front of PostgreSQL: whether each transaction may get another connection of the database.

    `listen` is the URL past the pooler, on which a server listens to the others; empty for none.
    """

    by_transaction: bool = False
    listen: str = ""


NO_POOLER: Final = Pooling()


class Engines(NamedTuple):
    """The engines: one writer, the readers beside it, and one reader for exports."""

    writer: Engine
    reader: Engine
    exporter: Engine


class ReadAccess:
    """Reads of a database through one engine, each within `seconds`."""

    def __init__(self, database: "Database", engine: Engine, seconds: float | None) -> None:
        self.dialect = database.dialect
        self._database = database
        self._engine = engine
        self._seconds = seconds

    @contextmanager
    def read(self, *, reads_position: bool = True) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot; raises ReadTooLong after its time limit.

        It first reads the ledger's position, unless the caller does that, and calls `compare`.
        """
        history = self._database.history
        floor = history.position
        with self._database.translated(self._seconds), self._engine.begin() as connection:
            deadline: Deadline = connection.info["deadline"]
            deadline.begin(self._seconds)
            connection.info[_FLOOR] = floor
            try:
                with self._database.fresh(connection):
                    if reads_position:
                        connection.info[_POSITION] = history.find(connection, floor)
                    yield connection
            finally:
                deadline.begin(None)


class Database:
    """The engines of one database; `file` is that of SQLite, None for a server elsewhere.

    `exports` is the same database as exports read it: on a connection and within a time of their own. `on_outdated` is
    called, on the thread that wanted to write, with the lowest writer level when it is above ours.
    """

    def __init__(
        self,
        dialect: Dialect,
        engines: Engines,
        limits: TimeLimits,
        release: Callable[[], None],
        history: History,
        file: Path | None = None,
        pooling: Pooling = NO_POOLER,
    ) -> None:
        self.pooling = pooling
        self.dialect = dialect
        self.history = history
        self.writer = engines.writer
        self.reader = engines.reader
        self.limits = limits
        self.file = file
        self.on_outdated: Callable[[int], object] = lambda _level: None
        self.availability = Availability()
        self._beginnings = Beginnings(dialect)
        self.exports = ReadAccess(self, engines.exporter, limits.export)
        self._reads = ReadAccess(self, engines.reader, limits.read)
        self.engines = engines
        self._release = release

    @property
    def display_url(self) -> str:
        """The database's URL, without its password."""
        url = self.writer.url.difference_update_query(["application_name"])
        return without_password(url.render_as_string(hide_password=False))

    @property
    def single_writer(self) -> bool:
        """Whether no other process can write to this database."""
        return not self.dialect.has_row_locks

    def close(self) -> None:
        """Close all connections and release the database."""
        for engine in self.engines:
            engine.dispose()
        self._release()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a writing transaction; raises Draining when only servers of a higher writer level may write."""
        with self.translated():
            while True:
                floor = self.history.position
                with self.writer.begin() as connection, self.fresh(connection):
                    beginning = self._begin(connection, floor)
                    if beginning is not None:
                        connection.info[WRITTEN_LABELS], connection.info[TERM] = beginning.label_indexes, beginning.term
                        yield connection
                        return
                with self.writer.begin() as connection:
                    self._beginnings.begin_term(connection)

    def _begin(self, connection: Connection, floor: int) -> Beginning | None:
        """Return what a writing transaction reads first, None when a term has to begin before."""
        beginning = self._beginnings.read(connection)
        if not may_write(beginning.writer_level):
            self.on_outdated(beginning.writer_level)
            raise Draining
        self.history.check_start(beginning.start)
        self.history.compare(connection, beginning.position, beginning.term, floor)
        return None if beginning.needs_term else beginning

    @contextmanager
    def fresh(self, connection: Connection) -> Iterator[None]:
        """Drop a connection to a stale database, with StoreUnavailable: the next one may reach the newer database."""
        try:
            yield
        except StaleDatabaseError as error:
            log.error("the database is not used", why=str(error))  # noqa: TRY400  a sentence says it all
            connection.invalidate()
            self.availability.failed()
            raise StoreUnavailable from error

    @contextmanager
    def change_schema(self) -> Iterator[Connection]:
        """Open a writing transaction on a schema of any version."""
        with self.translated(), self.writer.begin() as connection:
            yield connection

    def read(self, *, reads_position: bool = True) -> AbstractContextManager[Connection]:
        """Open a transaction that sees one snapshot; raises ReadTooLong after the time limit of reads."""
        return self._reads.read(reads_position=reads_position)

    def compare(self, connection: Connection, position: int, term: int) -> None:
        """Compare the ledger's position and present term, as a read's own statement found them, with what was seen."""
        self.history.compare(connection, position, term, connection.info[_FLOOR])

    def find_position(self, connection: Connection) -> int:
        """Return the position of a read whose own statement found none."""
        return self.history.find(connection, connection.info[_FLOOR])

    @contextmanager
    def translated(self, read_seconds: float | None = None) -> Iterator[None]:
        """Raise the ledger's errors in place of the database's; what is cancelled is a read that took too long.

        It was not the read that took too long when the database was away at its beginning, or failed meanwhile.
        """
        began, was_away = time.monotonic(), self.availability.is_away
        try:
            yield
        except DBAPIError as error:
            if read_seconds is not None and self.dialect.was_cancelled(error):
                if was_away or self.availability.has_failed_since(began):
                    raise StoreUnavailable from error.orig
                raise ReadTooLong(read_seconds) from error.orig
            meaning = self.dialect.ledger_error(error)
            if read_seconds is not None and isinstance(meaning, ConflictError):
                meaning = StoreUnavailable()  # it was broken off for the other one, and may be repeated
            if isinstance(meaning, StoreUnavailable):
                self.availability.failed()
                log.error("the database fails", why=str(error.orig))  # noqa: TRY400  a sentence says it all
            raise meaning from error.orig
        except PoolTimeoutError as error:
            log.error("no connection to the database is free", why=str(error))  # noqa: TRY400  as above
            raise StoreUnavailable from error
        except StatementError as error:
            raise RejectedStatementError(str(error)) from error
        self.availability.succeeded()


def position_of(connection: Connection) -> int:
    """Return the newest position of the snapshot of a transaction that reads."""
    position: int = connection.info[_POSITION]
    return position


def without_password(url: str) -> str:
    """Return a URL, or libpq's `host=h password=p`, with `***` in place of passwords."""
    return _PASSWORD.sub(r"\1***", url)


def open_database(url: str, limits: TimeLimits | None = None, pooling: Pooling = NO_POOLER) -> Database:
    """Open `sqlite:///FILE` or `postgresql+psycopg://…`; raises UnknownDatabaseError, DatabaseInUseError."""
    limits = limits or TimeLimits()
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _unknown(url) from None
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            from .sqlite.engines import open_sqlite  # noqa: PLC0415  each database has a driver of its own

            return open_sqlite(parsed, Path(parsed.database), limits)
        case "postgresql":
            from .postgres.engines import open_postgres  # noqa: PLC0415  as above

            return open_postgres(parsed.set(drivername="postgresql+psycopg"), limits, pooling)
    raise _unknown(url)


def check_exists(url: str) -> None:
    """Raise UnknownDatabaseError for a missing SQLite file; other databases report it themselves."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _unknown(url) from None
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise UnknownDatabaseError(f"{parsed.database} does not exist: no server has created it yet")


def _unknown(url: str) -> UnknownDatabaseError:
    return UnknownDatabaseError(
        f"value {without_password(url)!r} must be a database URL, like sqlite:///jobledger.db or postgresql+psycopg://user@host/name"
    )
