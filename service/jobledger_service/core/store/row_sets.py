"""Sets of rows: inserted, added and updated by the driver's own statements, which are built once."""

from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import Connection, Table

from .cells import Row
from .dialects import Columns, Dialect, Rows
from .driver_statements import execute
from .tables import job_words

Statement = Callable[[Dialect, Table, tuple[str, ...], int], str]
"""Returns the driver's statement for so many rows with these columns."""


class RowSets:
    """Writes sets of rows, which may be empty; the rows of one set have the same columns, in the same order."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def insert(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Insert rows."""
        self._execute(connection, _insert, table, rows)

    def add(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Add rows to those that have their primary key, number by number, and replace texts; insert new ones."""
        self._execute(connection, _add, table, rows)

    def update(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Update rows, which are found by their primary key; words are found by their job."""
        self._execute(connection, _update, table, rows)

    def delete(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Delete rows, of which the columns that find them are given."""
        self._execute(connection, _delete, table, rows)

    def _execute(self, connection: Connection, statement: Statement, table: Table, rows: Rows) -> None:
        for count, part in self._dialect.parts(rows):
            execute(
                connection, statement(self._dialect, table, tuple(part[0]), count), self._dialect.values(table, part)
            )

    def insert_alike(self, connection: Connection, table: Table, shared: Row, columns: Columns) -> None:
        """Insert rows that have the values of `shared` in common, and the others by column."""
        for count, values in self._dialect.alike(table, shared, columns):
            statement = _insert_alike(self._dialect, table, tuple(shared), tuple(columns), count)
            execute(connection, statement, values)


_kept = lru_cache(maxsize=256)


@_kept
def _insert(dialect: Dialect, table: Table, names: tuple[str, ...], count: int) -> str:
    return dialect.insert(table, names, count)


@_kept
def _insert_alike(dialect: Dialect, table: Table, shared: tuple[str, ...], names: tuple[str, ...], count: int) -> str:
    return dialect.insert_alike(table, shared, names, count)


@_kept
def _add(dialect: Dialect, table: Table, names: tuple[str, ...], count: int) -> str:
    return dialect.add(table, names, _keys(table), count)


@_kept
def _update(dialect: Dialect, table: Table, names: tuple[str, ...], count: int) -> str:
    return dialect.update(table, names, _keys(table), count)


@_kept
def _delete(dialect: Dialect, table: Table, keys: tuple[str, ...], count: int) -> str:
    return dialect.delete(table, keys, count)


def _keys(table: Table) -> list[str]:
    return ["job_key"] if table is job_words else [column.name for column in table.primary_key]
