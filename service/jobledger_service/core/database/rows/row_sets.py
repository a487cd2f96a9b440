"""Sets of rows: inserted, added and updated by the driver's own statements, which are built once."""

from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import Connection, Table

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Columns, Dialect, Rows
from jobledger_service.core.database.driver_statements import execute

_kept = lru_cache(maxsize=256)


class RowSets:
    """Writes sets of rows, which may be empty; the rows of one set have the same columns, in the same order."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def insert(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Insert rows."""
        self._run(connection, self._dialect.insert, table, rows)

    def insert_alike(self, connection: Connection, table: Table, shared: Row, columns: Columns) -> None:
        """Insert rows that have the values of `shared` in common, and the others by column."""
        for count, values in self._dialect.alike(table, shared, columns):
            statement = _insert_alike(self._dialect, table, tuple(shared), tuple(columns), count)
            execute(connection, statement, values)

    def add(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Add rows to those that have their primary key, number by number, and replace texts; insert new ones."""
        self._run(connection, self._dialect.add, table, rows)

    def update(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Update rows, which are found by their primary key; words are found by their job."""
        self._run(connection, self._dialect.update, table, rows)

    def delete(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Delete rows, of which the columns that find them are given."""
        self._run(connection, self._dialect.delete, table, rows)

    def _run(
        self, connection: Connection, made: Callable[[Table, tuple[str, ...], int], str], table: Table, rows: Rows
    ) -> None:
        for count, part in self._dialect.parts(rows):
            execute(connection, _statement(made, table, tuple(part[0]), count), self._dialect.values(table, part))


@_kept
def _statement(
    made: Callable[[Table, tuple[str, ...], int], str], table: Table, names: tuple[str, ...], count: int
) -> str:
    return made(table, names, count)


@_kept
def _insert_alike(dialect: Dialect, table: Table, shared: tuple[str, ...], names: tuple[str, ...], count: int) -> str:
    return dialect.insert_alike(table, shared, names, count)
