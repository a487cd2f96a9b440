"""The differences between databases: the interface of a dialect, and the parts that their statements share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
)
from sqlalchemy.exc import DBAPIError

from jobledger_service.core.model.bounds.limits import MAX_SUM
from jobledger_service.core.model.chunk import ChunkKey, Queue
from jobledger_service.core.model.history.vitals import Replica

from .cells import Row
from .tables import job_words
from .tables.schema import Bits

Rows = Sequence[Mapping[str, Any]]
Columns = dict[str, list[Any]]
"""Rows by column."""


class Dialect(Protocol):
    """How one database takes sets of keys and rows, and what its errors mean. Statements are built once."""

    name: str
    """The name of this process for other processes."""

    kind: str
    """The name of the dialect: sqlite, postgresql."""

    start: str
    """The SQL expression for the last start of the database: its time line, `@`, and a name that no other start has."""

    has_row_locks: bool
    """Whether others can write at the same time, so that rows must be locked."""

    def __hash__(self) -> int:
        """Statements are kept for each dialect."""
        return id(self)

    def keys(self, name: str = "keys") -> Select[Any]:
        """Return a subquery over a parameter, of `key_values`."""

    def key_values(self, keys: Iterable[str | int]) -> object:
        """Return the value of the parameter `keys`."""

    def chunk_keys(self) -> FromClause:
        """Return a table `job_key, chunk_index` made from the parameters of `chunk_key_values`."""

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        """Return the parameters of `chunk_keys`."""

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield parts of the rows, each for one statement, with the number of rows to build it for."""

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return the driver's statement that inserts `count` rows with these columns; JSON is given as text.

        That of events also notifies other replicas, when the transaction commits, of something to read.
        """

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:
        """Return the same for rows that have the columns of `shared` in common."""

    def update(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return the driver's statement that updates `count` rows, found by `keys_of` their table."""

    def delete(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return the driver's statement that deletes `count` rows, found by these columns."""

    def add(self, table: Table, names: Sequence[str], count: int) -> str:
        """Return the driver's statement that adds `count` rows to those found by their primary key, or inserts them.

        Numbers are added, texts replaced.
        """
        return f"{self.insert(table, names, count)} {_on_conflict(table, names, keys_of(table))}"

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  each dialect has a class of its own
        """Return an INSERT that can have an ON CONFLICT clause."""

    def values(self, table: Table, part: Rows) -> Any:  # noqa: ANN401  what the driver takes
        """Return the parameters of `insert`, `update`, `delete` or `add`."""

    def alike(self, table: Table, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:
        """Yield the row counts for `insert_alike`, and its parameters, until all rows are included."""

    def is_one_of(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Return the condition that a column is one of the texts in the parameter `name`, of `key_values`."""

    def contains(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that a text holds another one, byte for byte."""

    def merged_walk(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """Return a walk in the form for merging several, with the parameters `limit` and `skip`."""

    def first_of_each(self, walk: Select[Any], of: Column[Any]) -> Select[Any]:
        """Return what a walk over one table, with an order and a limit, finds for each of `keys` in a column."""

    def searched(self) -> Select[Any]:
        """Return the keys of the jobs that full text finds by the parameter `query`, of `query_value`."""

    def query_value(self, parts: Iterable[Sequence[str]]) -> str:
        """Return the query for jobs with a word of each list: by its beginning, or whole if a space follows."""

    # Where there is one writer, and no other replica:

    def try_lock(self, connection: Connection, name: str) -> bool:  # noqa: ARG002  there is one writer
        """Return whether this transaction is the only one doing `name`; it is so until it ends."""
        return True

    def lock(self, connection: Connection, *names: str) -> None:
        """Wait until this transaction is the only one doing any of `names`."""

    def lock_tables(self, connection: Connection, names: Sequence[str], seconds: float) -> bool:  # noqa: ARG002  as above
        """Return whether nobody else reads or writes these tables until the transaction ends; wait for that so long."""
        return True

    def announce_ready(self, connection: Connection, ready: Mapping[Queue, int]) -> None:
        """Notify other replicas, when the transaction commits, how many chunks wait again, by queue."""

    def size(self, connection: Connection) -> int:
        """Return the bytes of the database, without the files beside it."""

    def replicas(self, connection: Connection) -> list[Replica]:  # noqa: ARG002  there are no others
        """Return the servers that are connected now, by name; none where there can be only one."""
        return []

    def was_cancelled(self, error: DBAPIError) -> bool:
        """Return whether the database ended a statement because it took too long."""

    def ledger_error(self, error: DBAPIError) -> Exception:
        """Return the ledger's error for an error of the database."""


def keys_of(table: Table) -> list[str]:
    """Return the columns by which rows of a table are found: their primary key; words are found by their job."""
    return ["job_key"] if table is job_words else [column.name for column in table.primary_key]


def listed(names: Sequence[str]) -> str:
    """Return names as a statement has them."""
    return ", ".join(f'"{name}"' for name in names)


def _on_conflict(table: Table, names: Sequence[str], keys: Sequence[str]) -> str:
    """Return the conflict clause of an insert: numbers grow, and stop before they leave 64 bits.

    Texts are replaced, and bits united.
    """
    changes = []
    for name in names:
        if name in keys:
            continue
        if isinstance(table.c[name].type, Text):
            changes.append(f'"{name}" = excluded."{name}"')
        elif isinstance(table.c[name].type, Bits):
            changes.append(f'"{name}" = {table.name}."{name}" | excluded."{name}"')
        else:
            sum_ = f'{table.name}."{name}" + excluded."{name}"'
            bounded = (
                f"CASE WHEN {sum_} > {MAX_SUM} THEN {MAX_SUM} WHEN {sum_} < -{MAX_SUM} THEN -{MAX_SUM} ELSE {sum_} END"
            )
            changes.append(f'"{name}" = {bounded}')
    return f"ON CONFLICT ({listed(keys)}) DO UPDATE SET {', '.join(changes)}"
