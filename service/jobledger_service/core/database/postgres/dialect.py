"""PostgreSQL: its statements, the meaning of its errors, and notifications between replicas."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
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
    literal,
    select,
    table,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Columns, Dialect, Rows, keys_of, listed
from jobledger_service.core.database.rows.writes import ConflictError, RejectedStatementError
from jobledger_service.core.database.tables import events, job_words, search_vector
from jobledger_service.core.model.chunk import ChunkKey, Queue
from jobledger_service.core.model.history.vitals import Replica
from jobledger_service.core.model.refusals.errors import StoreUnavailable

from .arrays import ARRAYS, Array, Integers, Texts

_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no annotations for it

CHANNEL = "jobledger"
"""The channel of notifications about commits."""

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

_names = func.unnest(bindparam("names", type_=ARRAY(Text))).column_valued("name")


class Postgres(Dialect):
    """Passes a set as one array for each column; `name` tells this process from the other replicas."""

    kind = "postgresql"
    # the time line grows with each promotion; the name changes with each restart too. A standby has neither
    start = (
        "CASE WHEN pg_is_in_recovery() THEN '@standby' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
        " || '@' || extract(epoch FROM pg_postmaster_start_time()) END"
    )
    has_row_locks = True

    def __init__(self, name: str) -> None:
        self.name = name

    def keys(self, name: str = "keys") -> Select[Any]:
        return select(func.unnest(bindparam(name, type_=ARRAY(Text))))

    def key_values(self, keys: Iterable[str | int]) -> object:
        keys = list(keys)
        return Texts(keys) if keys and isinstance(keys[0], str) else keys

    def chunk_keys(self) -> FromClause:
        arrays = (bindparam("job_keys", type_=ARRAY(Text)), bindparam("indexes", type_=ARRAY(Integer)))
        named = (column("job_key", Text), column("chunk_index", Integer))
        return func.unnest(*arrays).table_valued(*named, name="named").render_derived()

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        return {"job_keys": Texts([key for key, _ in keys]), "indexes": Integers([index for _, index in keys])}

    def parts(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield all rows, if there are any: one statement takes any number."""
        if rows:
            yield 1, rows

    def insert(self, table: Table, names: Sequence[str], count: int) -> str:  # noqa: ARG002  an array has any number
        values = ", ".join(_cast(table, name) for name in names)
        insert = f"INSERT INTO {table.name} ({listed(names)}) SELECT {values} FROM {_unnest(table, names)}"
        if table is events:  # other replicas learn of them at the commit
            return f"WITH inserted AS ({insert}) SELECT pg_notify('{CHANNEL}', '{self.name}')"
        return insert

    def insert_alike(self, table: Table, shared: Sequence[str], names: Sequence[str], count: int) -> str:  # noqa: ARG002  as above
        alike = [f"CAST(%(all_{name})s AS {_type(table, name)})" for name in shared]
        values = ", ".join([*alike, *(_cast(table, name) for name in names)])
        return f"INSERT INTO {table.name} ({listed([*shared, *names])}) SELECT {values} FROM {_unnest(table, names)}"

    def update(self, table: Table, names: Sequence[str], count: int) -> str:  # noqa: ARG002  as above
        keys = keys_of(table)
        changes = ", ".join(f'"{name}" = {_cast(table, name)}' for name in names if name not in keys)
        return f"UPDATE {table.name} SET {changes} FROM {_unnest(table, names)} WHERE {_is_row(table, keys)}"

    def delete(self, table: Table, names: Sequence[str], count: int) -> str:  # noqa: ARG002  as above
        return f"DELETE FROM {table.name} USING {_unnest(table, names)} WHERE {_is_row(table, names)}"

    def insert_or(self, table: Table) -> Any:  # noqa: ANN401  as declared
        return postgresql.insert(table)

    def values(self, table: Table, part: Rows) -> Any:  # noqa: ANN401  what the driver takes
        return {name: _array(table, name)([row[name] for row in part]) for name in part[0]}

    def alike(self, table: Table, shared: Row, columns: Columns) -> Iterator[tuple[int, Any]]:
        """Yield all rows: one statement takes any number."""
        arrays = {name: _array(table, name)(values) for name, values in columns.items()}
        yield 1, {f"all_{name}": value for name, value in shared.items()} | arrays

    def is_one_of(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column == any_(bindparam(name, type_=ARRAY(Integer if isinstance(column.type, Integer) else Text)))

    def contains(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[bool]:
        return func.strpos(text, part) > 0

    def merged_walk(self, walk: Select[Any], ordered: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """Return it with its own order and limit, which PostgreSQL does not push down."""
        limit = bindparam("limit", type_=Integer) + bindparam("skip", type_=Integer)
        return select(walk.order_by(*ordered).limit(limit).subquery())

    def first_of_each(self, walk: Select[Any], of: Column[Any]) -> Select[Any]:
        keys = self.keys().subquery("keys")
        first = walk.where(of == keys.c[0]).lateral("first")
        return select(first).join_from(keys, first, true())

    def searched(self) -> Select[Any]:
        query = cast(bindparam("query", type_=Text), postgresql.TSQUERY)
        return select(job_words.c.job_key).where(search_vector.op("@@")(query))

    def query_value(self, parts: Iterable[Sequence[str]]) -> str:
        one_of = (" | ".join(f"'{p.strip()}'{'' if p.endswith(' ') else ':*'}" for p in part) for part in parts)
        return " & ".join(f"({term})" for term in one_of)

    def try_lock(self, connection: Connection, name: str) -> bool:
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_lock_number(name)))).scalar_one())

    def lock(self, connection: Connection, *names: str) -> None:
        connection.execute(_LOCK, {"names": names})

    def lock_tables(self, connection: Connection, names: Sequence[str], seconds: float) -> bool:
        [had] = connection.execute(select(func.current_setting("statement_timeout"))).scalars()
        preparer = connection.dialect.identifier_preparer
        locks = f"LOCK TABLE {', '.join(map(preparer.quote, names))} IN ACCESS EXCLUSIVE MODE"
        try:
            with connection.begin_nested():
                _set_statement_timeout(connection, f"{round(seconds * 1_000)}")
                connection.exec_driver_sql(locks)
        except DBAPIError as error:
            if not self.was_cancelled(error):
                raise
            return False
        _set_statement_timeout(connection, had)
        return True

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

    def ledger_error(self, error: DBAPIError) -> Exception:
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


def _set_statement_timeout(connection: Connection, value: str) -> None:
    connection.execute(select(func.set_config("statement_timeout", value, true())))


def _lock_number(name: str | ColumnElement[str]) -> ColumnElement[int]:
    return func.hashtextextended(literal(f"{CHANNEL}.").concat(name), 0)


_numbers = select(_lock_number(_names).label("number")).distinct().order_by("number").subquery("numbers")
_LOCK: Final = select(func.pg_advisory_xact_lock(_numbers.c.number))
"""Takes locks in the order of their numbers, so that two transactions never wait for each other."""


def _type(table: Table, name: str) -> str:
    return str(table.c[name].type.compile(dialect=_POSTGRES)).split(" COLLATE")[0]


@lru_cache(maxsize=256)
def _array(table: Table, name: str) -> type[Array]:
    return ARRAYS[_type(table, name).replace("JSONB", "TEXT")]


def _cast(table: Table, name: str) -> str:
    return f'CAST(batch."{name}" AS JSONB)' if _type(table, name) == "JSONB" else f'batch."{name}"'


def _is_row(table: Table, names: Sequence[str]) -> str:
    return " AND ".join(f'{table.name}."{name}" = batch."{name}"' for name in names)


def _unnest(table: Table, names: Sequence[str]) -> str:
    types = {name: _type(table, name).replace("JSONB", "TEXT") for name in names}
    arrays = ", ".join(f"CAST(%({name})b AS {type_}[])" for name, type_ in types.items())
    return f"unnest({arrays}) AS batch ({listed(names)})"
