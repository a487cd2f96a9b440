"""What differs between databases, in one place."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from jobledger_service.domain.errors import StoreUnavailable
from jobledger_service.domain.health import Replica
from jobledger_service.domain.rollup import MOST
from jobledger_service.ledger.ports import ChunkKey, Queue
from jobledger_service.ledger.write_ports import ConflictError, RejectedStatementError

from .cells import Row, json_text
from .tables import job_words, search_vector

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]
Columns = dict[str, list[Any]]
"""Rows by column."""

_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no annotations for it

CHANNEL = "jobledger"
"""Where PostgreSQL tells replicas of a commit."""


class Dialect(Protocol):
    """How one database takes sets of keys and rows, and what its errors mean. Statements are built once."""

    name: str
    """How this process calls itself where others hear of it."""

    kind: str
    """What it is called: sqlite, postgresql."""

    has_row_locks: bool
    """Whether others can write at the same time, so that rows must be locked."""

    def __hash__(self) -> int:
        """Statements are kept for each dialect."""

    def keys(self) -> Select[Any]:
        """Return a subquery over the parameter `keys`."""

    def key_values(self, keys: Iterable[str | int]) -> object:
        """Return the value of the parameter `keys`."""

    def chunk_keys(self) -> FromClause:
        """Return a table `job_key, chunk_index` made from the parameters of `chunk_key_values`."""

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        """Return the parameters of `chunk_keys`."""

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield rows in parts, each of which one statement takes, and for how many rows it is to be built."""

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return the driver's statement that inserts `count` rows with these columns; JSON is given as text."""

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:
        """Return the same for rows that have the columns of `shared` in common."""

    def update(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:
        """Return the driver's statement that updates `count` rows, found by the columns in `keys`."""

    def add(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:
        """Return the driver's statement that adds `count` rows to those found by `keys`, or inserts them."""

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  each dialect has a class of its own
        """Return an INSERT that can be told what to do on a conflict."""

    def values(self, part: Rows) -> Any:  # noqa: ANN401  what the driver takes
        """Return the parameters of `insert`, `update` or `add`."""

    def alike(self, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:
        """Yield for how many rows `insert_alike` is to be built, and its parameters, until all rows were in one."""

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Return the condition that a column is one of the texts in the parameter `name`, of `key_values`."""

    def holds(self, text: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Return the condition that a text holds the one in the parameter `name`, byte for byte."""

    def arm(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """Return a walk in the form in which it can be one of several that are merged, `most` and `skip` parameters."""

    def searched(self) -> Select[Any]:
        """Return the keys of the jobs that full text finds by the parameter `query`, of `query_value`."""

    def query_value(self, prefixes: Sequence[str], marks: Sequence[str]) -> str:
        """Return the query for jobs that have words with all of these beginnings, and all of these marks."""

    def sole(self, connection: Connection, name: str) -> bool:
        """Return whether this transaction is the only one doing `name`; it is so until it ends."""

    def alone(self, connection: Connection, name: str) -> None:
        """Wait until this transaction is the only one doing `name`."""

    def announce(self, connection: Connection) -> None:
        """Tell other replicas, when the transaction commits, that there is something to read."""

    def announce_ready(self, connection: Connection, ready: Mapping[Queue, int]) -> None:
        """Tell other replicas, when the transaction commits, how many chunks wait again, by queue."""

    def size(self, connection: Connection) -> int:
        """Return how many bytes the database takes, without the files that it keeps beside it."""

    def replicas(self, connection: Connection) -> list[Replica]:
        """Return the servers that are connected now, by name; none where there can be only one."""

    def was_cancelled(self, error: DBAPIError) -> bool:
        """Return whether the database ended a statement because it took too long."""

    def meaning(self, error: DBAPIError) -> Exception:
        """Return what an error of the database means to the ledger."""


_PARTS = (64, 8, 1)
"""Rows of one statement; of 64 jobs the parameters are a tenth of what SQLite takes."""


class Sqlite:
    """SQLite takes a set of keys as one JSON document, and rows as they are, without a round trip between them."""

    name = ""
    kind = "sqlite"
    has_row_locks = False

    def keys(self) -> Select[Any]:
        return select(func.json_each(bindparam("keys", type_=Text)).table_valued("value").c.value)

    def key_values(self, keys: Iterable[str | int]) -> object:
        return json_text(list(keys))

    def chunk_keys(self) -> FromClause:
        each = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
        return select(
            func.json_extract(each.c.value, "$[0]").label("job_key"),
            cast(func.json_extract(each.c.value, "$[1]"), Integer).label("chunk_index"),
        ).subquery("wanted")

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        return {"keys": json_text(keys)}

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield parts of a few sizes, large ones first.

        The interpreter's lock is let go for each statement and not for each row: another thread that is busy keeps it
        for milliseconds.
        """
        return _parts(rows)

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:
        return f"INSERT INTO {table.name} ({_listed(names)}) VALUES {_marks(names, count)}"

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:
        values = ", ".join([*("?" * len(shared)), *(f"given.column{place}" for place, _ in enumerate(names, 1))])
        given = f"(VALUES {_marks(names, count)}) AS given"
        return f"INSERT INTO {table.name} ({_listed([*shared, *names])}) SELECT {values} FROM {given}"

    def update(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:
        given = {name: f"given.column{place}" for place, name in enumerate(names, 1)}
        changes = ", ".join(f'"{name}" = {value}' for name, value in given.items() if name not in keys)
        found = " AND ".join(f'{table.name}."{name}" = {given[name]}' for name in keys)
        return f"UPDATE {table.name} SET {changes} FROM (VALUES {_marks(names, count)}) AS given WHERE {found}"

    def add(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:
        return f"{self.insert(table, names, count)} {_added(table, names, keys)}"

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  as declared
        return sqlite.insert(table)

    def values(self, part: Rows) -> Any:  # noqa: ANN401  what SQLAlchemy's execute takes
        return tuple(chain.from_iterable(row.values() for row in part))

    def alike(self, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:
        same = tuple(shared.values())
        for count, part in _parts(list(zip(*columns.values(), strict=True))):
            yield count, (*same, *chain.from_iterable(part))

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))

    def holds(self, text: ColumnElement[str], name: str) -> ColumnElement[bool]:
        return func.instr(text, bindparam(name, type_=Text)) > 0

    def arm(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:  # noqa: ARG002  see below
        """Return it as it is: SQLite sees by itself which index has the order of the whole."""
        return walk

    def searched(self) -> Select[Any]:
        found = table("job_search", column("rowid", Integer))
        matches: ColumnElement[bool] = literal_column("job_search").op("MATCH")(bindparam("query", type_=Text))
        return (
            select(job_words.c.job_key)
            .select_from(found.join(job_words, job_words.c.number == found.c.rowid))
            .where(matches)
        )

    def query_value(self, prefixes: Sequence[str], marks: Sequence[str]) -> str:
        return " AND ".join((*(f'"{mark}"' for mark in marks), *(f'"{prefix}"*' for prefix in prefixes)))

    def sole(self, connection: Connection, name: str) -> bool:  # noqa: ARG002  there is one writer
        return True

    def alone(self, connection: Connection, name: str) -> None:
        """There is one writer."""

    def announce(self, connection: Connection) -> None:
        """There are no other replicas."""

    def announce_ready(self, connection: Connection, ready: Mapping[Queue, int]) -> None:
        """There are no other replicas."""

    def size(self, connection: Connection) -> int:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        page_size: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        return pages * page_size

    def replicas(self, connection: Connection) -> list[Replica]:  # noqa: ARG002  there are no others
        return []

    def was_cancelled(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT

    def meaning(self, error: DBAPIError) -> Exception:
        code = getattr(error.orig, "sqlite_errorcode", None)  # none where the driver itself refuses a value
        if code is None or code & 0xFF in _SQLITE_REJECTS:
            return RejectedStatementError(str(error.orig))
        return StoreUnavailable()


class Postgres:
    """PostgreSQL takes a set as one array for each column; `name` tells this process from the other replicas."""

    kind = "postgresql"
    has_row_locks = True

    def __init__(self, name: str) -> None:
        self.name = name

    def keys(self) -> Select[Any]:
        return select(func.unnest(bindparam("keys", type_=ARRAY(Text))))

    def key_values(self, keys: Iterable[str | int]) -> object:
        return list(keys)

    def chunk_keys(self) -> FromClause:
        arrays = (bindparam("job_keys", type_=ARRAY(Text)), bindparam("indexes", type_=ARRAY(Integer)))
        named = (column("job_key", Text), column("chunk_index", Integer))
        return func.unnest(*arrays).table_valued(*named, name="wanted").render_derived()

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        return {"job_keys": [key for key, _ in keys], "indexes": [index for _, index in keys]}

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield them all, if there are any: one statement takes any number."""
        if rows:
            yield 1, rows

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:  # noqa: ARG002  an array has any number
        values = ", ".join(_cast(table, name) for name in names)
        return f"INSERT INTO {table.name} ({_listed(names)}) SELECT {values} FROM {_unnest(table, names)}"

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:  # noqa: ARG002  as above
        alike = [f"CAST(%(all_{name})s AS {_type(table, name)})" for name in shared]
        values = ", ".join([*alike, *(_cast(table, name) for name in names)])
        return f"INSERT INTO {table.name} ({_listed([*shared, *names])}) SELECT {values} FROM {_unnest(table, names)}"

    def update(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:  # noqa: ARG002  as above
        changes = ", ".join(f'"{name}" = {_cast(table, name)}' for name in names if name not in keys)
        found = " AND ".join(f'{table.name}."{name}" = given."{name}"' for name in keys)
        return f"UPDATE {table.name} SET {changes} FROM {_unnest(table, names)} WHERE {found}"

    def add(self, table: Table, names: Sequence[str], keys: Sequence[str], count: int) -> str:
        return f"{self.insert(table, names, count)} {_added(table, names, keys)}"

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  as declared
        return postgresql.insert(table)

    def values(self, part: Rows) -> Any:  # noqa: ANN401  what SQLAlchemy's execute takes
        return {name: [row[name] for row in part] for name in part[0]}

    def alike(self, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:
        """Yield them all: one statement takes any number."""
        yield 1, {f"all_{name}": value for name, value in shared.items()} | columns

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column == any_(bindparam(name, type_=ARRAY(Integer if isinstance(column.type, Integer) else Text)))

    def holds(self, text: ColumnElement[str], name: str) -> ColumnElement[bool]:
        return func.strpos(text, bindparam(name, type_=Text)) > 0

    def arm(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """Return it with the order of the whole, which PostgreSQL does not push down, and without what is too much."""
        most = bindparam("most", type_=Integer) + bindparam("skip", type_=Integer)
        return select(walk.order_by(*ordered).limit(most).subquery())

    def searched(self) -> Select[Any]:
        query = cast(bindparam("query", type_=Text), postgresql.TSQUERY)
        return select(job_words.c.job_key).where(search_vector.op("@@")(query))

    def query_value(self, prefixes: Sequence[str], marks: Sequence[str]) -> str:
        return " & ".join((*(f"'{mark}'" for mark in marks), *(f"'{prefix}':*" for prefix in prefixes)))

    def sole(self, connection: Connection, name: str) -> bool:
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_lock_number(name)))).scalar_one())

    def alone(self, connection: Connection, name: str) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(_lock_number(name))))

    def announce(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}, '{self.name}'")

    def announce_ready(self, connection: Connection, ready: Mapping[Queue, int]) -> None:
        payloads = [{"payload": "\n".join((self.name, *queue, str(count)))} for queue, count in ready.items()]
        connection.execute(select(func.pg_notify(CHANNEL, bindparam("payload"))), payloads)

    def size(self, connection: Connection) -> int:
        size: int = connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one()
        return size

    def replicas(self, connection: Connection) -> list[Replica]:
        named = [str(name).split("/", 2) for name in connection.execute(_REPLICAS).scalars()]
        return [Replica(name, version) for _, version, name in named]

    def was_cancelled(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) == "57014"  # query_canceled, here and at the server

    def meaning(self, error: DBAPIError) -> Exception:
        state = getattr(error.orig, "sqlstate", None) or ""
        # serialization_failure, deadlock_detected; unique_violation: another replica has just made a row of that name,
        # which was not there to be locked when this transaction looked.
        if state in ("40001", "40P01", "23505"):
            return ConflictError(str(error.orig))
        if state[:2] in _POSTGRES_REJECTS:
            return RejectedStatementError(str(error.orig))
        # The driver refuses some values itself, such as a text with a NUL character, and then there is no state.
        if not state and type(error.orig).__name__ in ("DataError", "NotSupportedError", "ProgrammingError"):
            return RejectedStatementError(str(error.orig))
        return StoreUnavailable()


_SQLITE_REJECTS: Final = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
"""What a statement or its values bring about; everything else, such as a full disk, is the database's state."""

_POSTGRES_REJECTS: Final = {"0A", "21", "22", "23", "2F", "38", "39", "42", "44", "54", "P0", "XX"}
"""Classes of errors that a statement or its values bring about: data exceptions, violated constraints, wrong
statements, limits of a row or an index (54), and what the server fails at in itself (XX), such as one damaged row
(https://www.postgresql.org/docs/current/errcodes-appendix.html). The others are the state of the database, or of the
connection to it."""


# Each server names its connections, `jobledger/VERSION/NAME`: so it is seen as long as it is connected, and no longer.
_ACTIVITY = table("pg_stat_activity", column("datname", Text), column("application_name", Text))
_REPLICAS = (
    select(_ACTIVITY.c.application_name)
    .distinct()
    .where(_ACTIVITY.c.datname == func.current_database(), _ACTIVITY.c.application_name.startswith(f"{CHANNEL}/"))
    .order_by(_ACTIVITY.c.application_name)
)


def _lock_number(name: str) -> ColumnElement[int]:
    return func.hashtextextended(f"{CHANNEL}.{name}", 0)


def _parts(rows: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    begin = 0
    for size in _PARTS:
        while len(rows) - begin >= size:
            yield size, rows[begin : begin + size]
            begin += size


def _marks(names: Sequence[str], count: int) -> str:
    """Return the parameters of so many rows for SQLite."""
    row = f"({', '.join('?' * len(names))})"
    return ", ".join([row] * count)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _added(table: Table, names: Sequence[str], keys: Sequence[str]) -> str:
    """Return what an insert does when the row exists: its numbers grow, and stop before they leave 64 bits."""
    changes = []
    for name in names:
        if name not in keys:
            sum_ = f'{table.name}."{name}" + excluded."{name}"'
            bounded = f"CASE WHEN {sum_} > {MOST} THEN {MOST} WHEN {sum_} < -{MOST} THEN -{MOST} ELSE {sum_} END"
            changes.append(f'"{name}" = {bounded}')
    return f"ON CONFLICT ({_listed(keys)}) DO UPDATE SET {', '.join(changes)}"


def _type(table: Table, name: str) -> str:
    return str(table.c[name].type.compile(dialect=_POSTGRES)).split(" COLLATE")[0]


def _cast(table: Table, name: str) -> str:
    return f'CAST(given."{name}" AS JSONB)' if _type(table, name) == "JSONB" else f'given."{name}"'


def _unnest(table: Table, names: Sequence[str]) -> str:
    types = {name: _type(table, name).replace("JSONB", "TEXT") for name in names}
    arrays = ", ".join(f"CAST(%({name})b AS {type_}[])" for name, type_ in types.items())
    return f"unnest({arrays}) AS given ({_listed(names)})"
