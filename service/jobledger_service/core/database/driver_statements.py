"""The statements of every batch, carried out by the driver's own cursor.

SQLAlchemy takes 30 to 60 µs more for each, as much as a small statement itself takes on SQLite.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.engine.interfaces import Dialect as Driver

Found = TypeVar("Found")


def execute(connection: Connection, sql: str, parameters: Any) -> None:  # noqa: ANN401  what the driver takes
    """Carry out a statement of the driver; raises SQLAlchemy's errors."""
    _run(connection, sql, parameters, _nothing)


def rows(connection: Connection, sql: str, parameters: Any) -> list[Any]:  # noqa: ANN401  as above
    """Carry out a statement of the driver and return all rows, as tuples; raises SQLAlchemy's errors."""
    return _run(connection, sql, parameters, _fetch_all)


def _run(connection: Connection, sql: str, parameters: Any, fetch: Callable[[Any], Found]) -> Found:  # noqa: ANN401  as above
    """Return the result of `fetch` on the cursor. An engine with event listeners carries the statement out itself."""
    if connection._has_events or connection.engine._has_events:  # noqa: SLF001  no public name, and asked for each
        return fetch(connection.exec_driver_sql(sql, parameters))
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        return fetch(cursor)
    except Exception as error:  # noqa: BLE001  SQLAlchemy says what it means, and drops lost connections
        connection._handle_dbapi_exception(error, sql, parameters, cursor, None)  # noqa: SLF001


def _nothing(_cursor: object) -> list[Any]:
    return []


def _fetch_all(cursor: Any) -> list[Any]:  # noqa: ANN401  the driver's
    fetched: list[Any] = cursor.fetchall()
    return fetched


class _Compiled(NamedTuple):
    """A statement for one driver: its parameters in order, None when they are named, and those that are constants."""

    sql: str
    order: list[str] | None
    constants: dict[str, Any]


class DriverStatement:
    """A statement of the Core, compiled when it is first carried out; it belongs to one database.

    Its parameters and columns are numbers, texts and bytes, or what the dialect makes of a set of keys: the driver's
    own values. It has no list of bound values, which SQLAlchemy writes out anew each time; constant ones are literals.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: _Compiled | None = None

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[Any]:
        """Carry it out and return all rows, as tuples."""
        return self.fetch(connection, parameters, _fetch_all)

    def fetch(self, connection: Connection, parameters: Mapping[str, Any], fetch: Callable[[Any], Found]) -> Found:
        """Carry it out and return the result of `fetch` on the cursor, whose rows are tuples."""
        sql, order, constants = self._compiled or self._compile(connection.dialect)
        values: Any = {**constants, **parameters}
        if order is not None:
            values = tuple([values[name] for name in order])
        return _run(connection, sql, values, fetch)

    def _compile(self, driver: Driver) -> _Compiled:
        made: Any = self._statement.compile(dialect=driver)
        constants = {name: value for name, value in made.params.items() if value is not None}
        self._compiled = _Compiled(str(made), made.positiontup, constants)
        return self._compiled
