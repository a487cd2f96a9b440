"""SQLite: its statements, and the meaning of its errors."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeVar
from uuid import uuid4

from msgspec import json
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
    tuple_,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Columns, Dialect, Rows, keys_of, listed
from jobledger_service.core.database.rows.writes import RejectedStatementError
from jobledger_service.core.database.tables import job_words
from jobledger_service.core.model.chunk import ChunkKey, Queue
from jobledger_service.core.model.refusals.errors import StoreUnavailable

T = TypeVar("T")

_MOST = 64
"""Rows of the largest statement. Of so many jobs the parameters are a tenth of what SQLite takes.

Others have a power of two: 63 rows take six.
"""

_SQLITE_REJECTS: Final = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
"""Errors of a statement or its values; all others, such as a full disk, are the state of the database."""


class Sqlite(Dialect):
    """SQLite takes a set of keys as one JSON document, and rows as they are, without a round trip between them."""

    name = ""
    kind = "sqlite"
    has_row_locks = False

    def __init__(self) -> None:
        # a file cannot be exchanged under a server that holds it open
        self.start = f"'@{uuid4().hex}'"

    def keys(self, name: str = "keys") -> Select[Any]:
        return select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value)

    def key_values(self, keys: Iterable[str | int]) -> object:
        return json.encode(list(keys)).decode()

    def chunk_keys(self) -> FromClause:
        each = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
        return select(
            func.json_extract(each.c.value, "$[0]").label("job_key"),
            cast(func.json_extract(each.c.value, "$[1]"), Integer).label("chunk_index"),
        ).subquery("named")

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        return {"keys": json.encode(keys).decode()}

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield parts of a few sizes, large ones first.

        The interpreter's lock is released for each statement and not for each row: a busy thread keeps it for
        milliseconds.
        """
        return _parts(rows)

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:
        return f"INSERT INTO {table.name} ({listed(names)}) VALUES {_marks(names, count)}"

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:
        values = ", ".join([*("?" * len(shared)), *(f"batch.column{place}" for place, _ in enumerate(names, 1))])
        rows = f"(VALUES {_marks(names, count)}) AS batch"
        return f"INSERT INTO {table.name} ({listed([*shared, *names])}) SELECT {values} FROM {rows}"

    def update(self, table: Table, names: Sequence[str], count: int) -> str:
        new, keys = {name: f"batch.column{place}" for place, name in enumerate(names, 1)}, keys_of(table)
        changes = ", ".join(f'"{name}" = {value}' for name, value in new.items() if name not in keys)
        is_row = " AND ".join(f'{table.name}."{name}" = {new[name]}' for name in keys)
        return f"UPDATE {table.name} SET {changes} FROM (VALUES {_marks(names, count)}) AS batch WHERE {is_row}"

    def delete(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return it with a condition for each row: several columns IN a list of rows would read through the table."""
        row = f"({listed(names)}) = {_marks(names, 1)}"
        return f"DELETE FROM {table.name} WHERE {' OR '.join([row] * count)}"

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  as declared
        return sqlite.insert(table)

    def values(self, table: Table, part: Rows) -> Any:  # noqa: ANN401, ARG002  what the driver takes
        return tuple(chain.from_iterable(row.values() for row in part))

    def alike(self, table: Table, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:  # noqa: ARG002  a value says its type
        shared_values = tuple(shared.values())
        for count, part in _parts(list(zip(*columns.values(), strict=True))):
            yield count, (*shared_values, *chain.from_iterable(part))

    def is_one_of(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))

    def contains(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[bool]:
        return func.instr(text, part) > 0

    def merged_walk(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:  # noqa: ARG002  see below
        """Return it unchanged: SQLite itself chooses the index that has the order."""
        return walk

    def first_of_each(self, walk: Select[Any], of: Column[Any]) -> Select[Any]:
        keys = self.keys().subquery("keys")
        primary_key = [column for column in of.table.primary_key if column is not of]
        of_one = of == keys.c[0]
        first = walk.with_only_columns(*primary_key).where(of_one).correlate(keys)
        return select(*walk.selected_columns).join_from(keys, of.table, of_one & tuple_(*primary_key).in_(first))

    def searched(self) -> Select[Any]:
        search = table("job_search", column("rowid", Integer))
        matches: ColumnElement[bool] = literal_column("job_search").op("MATCH")(bindparam("query", type_=Text))
        return (
            select(job_words.c.job_key)
            .select_from(search.join(job_words, job_words.c.number == search.c.rowid))
            .where(matches)
        )

    def query_value(self, parts: Iterable[Sequence[str]]) -> str:
        one_of = (" OR ".join(f'"{p.strip()}"{"" if p.endswith(" ") else "*"}' for p in part) for part in parts)
        return " AND ".join(f"({term})" for term in one_of)

    def lock(self, connection: Connection, *names: str) -> None:
        """There is one writer."""

    def announce(self, connection: Connection) -> None:
        """There are no other replicas."""

    def announce_ready(self, connection: Connection, ready: Mapping[Queue, int]) -> None:
        """There are no other replicas."""

    def size(self, connection: Connection) -> int:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        page_size: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        return pages * page_size

    def was_cancelled(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT

    def ledger_error(self, error: DBAPIError) -> Exception:
        code = getattr(error.orig, "sqlite_errorcode", None)  # none where the driver itself refuses a value
        if code is None or code & 0xFF in _SQLITE_REJECTS:
            return RejectedStatementError(str(error.orig))
        return StoreUnavailable()


def _parts(rows: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    end = len(rows)
    remaining = end
    while remaining:
        size = min(_MOST, 1 << remaining.bit_length() - 1)
        yield size, rows[end - remaining : end - remaining + size]
        remaining -= size


def _marks(names: Sequence[str], count: int) -> str:
    """Return the parameters of so many rows for SQLite."""
    row = f"({', '.join('?' * len(names))})"
    return ", ".join([row] * count)
