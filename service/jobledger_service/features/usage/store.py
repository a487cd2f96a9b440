"""Usage in the database: sums by day, owner, key and method."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct as MsgStruct
from sqlalchemy import BigInteger, cast, delete, func, select, tuple_

from jobledger_service.core.database.engines import Database
from jobledger_service.transport.usage import UsageCounts, UsageRow

from .tables import usage

DIMENSIONS: Final = ("day", "owner", "key_id", "method")
SUMS: Final = ("calls", "errors", "received", "sent", "micros")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(time: int) -> str:
    """Return the day (UTC) of a time in microseconds, as 2026-01-31."""
    return (_EPOCH + timedelta(microseconds=time)).date().isoformat()


class UsageQuery(MsgStruct, frozen=True):
    """A query for usage, and its dimensions; empty texts are no condition, and `by` is not empty."""

    by: tuple[str, ...]
    start_day: str = ""
    end_day: str = ""
    owner: str = ""
    key_id: str = ""


class SqlUsageStore:
    """The store of usage. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        new = database.dialect.insert_or(usage)
        self._add = new.on_conflict_do_update(
            index_elements=DIMENSIONS, set_={name: usage.c[name] + new.excluded[name] for name in SUMS}
        )

    def add(self, rows: Sequence[UsageRow]) -> None:
        """Add to the sums, in the order of their keys, so that servers do not end in a deadlock."""
        values = sorted(
            (row.day, row.owner, row.key_id, row.method, *(getattr(row.counts, name) for name in SUMS)) for row in rows
        )
        if not values:
            return
        with self._database.write() as connection:
            connection.execute(self._add, [dict(zip((*DIMENSIONS, *SUMS), row, strict=True)) for row in values])

    def trim(self, before: int, limit: int) -> int:
        """Delete at most `limit` sums of days before that of a time; return how many."""
        old = select(*usage.primary_key).where(usage.c.day < day_of(before)).limit(limit)
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim usage"):
                return 0
            return connection.execute(delete(usage).where(tuple_(*usage.primary_key).in_(old))).rowcount

    def sums(self, query: UsageQuery, after: Sequence[str] | None, limit: int) -> list[UsageRow]:
        """Return sums after a place, which has a value for each dimension of the query, in their order."""
        by = [usage.c[name] for name in query.by]
        summed = [cast(func.sum(usage.c[name]), BigInteger) for name in SUMS]
        statement = select(*by, *summed).group_by(*by).order_by(*by).limit(limit)
        conditions = (
            (query.start_day, usage.c.day >= query.start_day),
            (query.end_day, usage.c.day <= query.end_day),
            (query.owner, usage.c.owner == query.owner),
            (query.key_id, usage.c.key_id == query.key_id),
        )
        statement = statement.where(*(condition for value, condition in conditions if value))
        if after is not None:
            statement = statement.where(tuple_(*by) > tuple_(*after))
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        nothing = dict.fromkeys(DIMENSIONS, "")
        return [
            UsageRow(**nothing | dict(zip(query.by, row, strict=False)), counts=UsageCounts(*row[len(by) :]))
            for row in rows
        ]
