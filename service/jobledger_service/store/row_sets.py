"""Sets of rows: inserted, added and updated by the driver's own statements, which are built once."""

from functools import lru_cache

from sqlalchemy import Connection, Table

from .dialects import Dialect, Rows
from .tables import job_words


class RowSets:
    """Writes sets of rows, which may be empty; the rows of one set have the same columns."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def insert(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Insert rows."""
        for part in self._dialect.parts(rows):
            statement = _insert(self._dialect, table, tuple(part[0]), len(part))
            connection.exec_driver_sql(statement, self._dialect.values(part))

    def add(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Add rows to those that have their primary key, number by number; insert those that are new."""
        for part in self._dialect.parts(rows):
            statement = _add(self._dialect, table, tuple(part[0]), len(part))
            connection.exec_driver_sql(statement, self._dialect.values(part))

    def update(self, connection: Connection, table: Table, rows: Rows) -> None:
        """Update rows, which are found by their primary key; words are found by their job."""
        if rows:
            statement = _update(self._dialect, table, tuple(rows[0]))
            connection.exec_driver_sql(statement, self._dialect.rows(rows))


@lru_cache(maxsize=256)
def _insert(dialect: Dialect, table: Table, names: tuple[str, ...], count: int) -> str:
    return dialect.insert(table, names, count)


@lru_cache(maxsize=256)
def _add(dialect: Dialect, table: Table, names: tuple[str, ...], count: int) -> str:
    return dialect.add(table, names, _keys(table), count)


@lru_cache(maxsize=256)
def _update(dialect: Dialect, table: Table, names: tuple[str, ...]) -> str:
    return dialect.update(table, names, _keys(table))


def _keys(table: Table) -> list[str]:
    return ["job_key"] if table is job_words else [column.name for column in table.primary_key]
