"""Pages of events: of the history, and of the audit trail that has what of it was trimmed, in either direction."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, Final, NamedTuple

from msgspec import Struct as MsgStruct
from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table, Text, and_, bindparam, func, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.engines import position_of
from jobledger_service.core.database.rows.event_terms import INDEXED, term
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.tables import audit, audit_owner, event_owner, events, ledger
from jobledger_service.core.model.filters.filter import ANY_TIME, TimeRange
from jobledger_service.core.model.history.change import CHANGE_BITS, ChangeType
from jobledger_service.core.model.micros import Micros

from .indexed_events import TermWalk, read_events_at

MAX_LOOKED_AT: Final = 20_000
"""Events that one read examines in one of the tables."""
MAX_PAGE_BYTES: Final = 1024 * 1024
"""A read of one of the tables ends with the event that makes it this large: at least one, if there is one."""
_OWNERS: Final = {events: event_owner, audit: audit_owner}
_ALL: Final = sum(CHANGE_BITS.values())

_TIMES: Final = {
    table: select(table.c.commit_time)
    .where(table.c.position >= bindparam("position", type_=BigInteger))
    .order_by(table.c.position)
    .limit(1)
    for table in (events, audit)
}


class EventsWanted(MsgStruct, frozen=True):
    """A query for events of one job, of one owner, or, without either, of all.

    Of several jobs that have had the key, the one with the uid is meant, by default the present or else the last one.
    The events are after the position `begin`, up to `end`, were committed in a span of time, and have one of some
    changes, or any if there are none. Without terms, actors and kinds are for the caller to compare.
    """

    job_key: str | None = None
    uid: bytes | None = None
    owner: str | None = None
    newest_first: bool = True
    begin: int = 0
    end: int = 2**63 - 2
    commit_time: TimeRange = ANY_TIME
    changes: frozenset[ChangeType] = frozenset()
    actors: Sequence[str] = ()
    kinds: Sequence[str] = ()

    @property
    def is_indexed(self) -> bool:
        """Whether the events have terms, so that no others are read."""
        return bool(self.job_key is None and self.changes and self.changes <= INDEXED)

    def terms(self) -> list[str]:
        """Return the terms of the events."""
        combinations = product(sorted(self.changes), self.actors or (None,), self.kinds or (None,))
        return [term(self.owner, *parts) for parts in combinations]


class EventPageRead(MsgStruct, frozen=True):
    """Events in order; `last` is the position after which there may be more, None when there are none.

    `uid` is that of the job whose events they are, if the query is for one job.
    """

    rows: Sequence[EventRow]
    last: int | None
    uid: bytes | None = None


class _Part(NamedTuple):
    """Events of one table; `last` is the last examined position, None when all were examined."""

    rows: Sequence[EventRow]
    more: bool
    last: int | None


class EventPages:
    """Reads pages of events."""

    def __init__(self, dialect: Dialect) -> None:
        self._term_walk = TermWalk(dialect)

    def read(self, connection: Connection, query: EventsWanted, after: int | None, limit: int) -> EventPageRead:
        """Return the next events after a place, None for the first: as many as fit into a read, perhaps none."""
        begin, end = _positions(connection, query)
        if after is not None:
            begin, end = (begin, min(end, after - 1)) if query.newest_first else (max(begin, after), end)
        if query.is_indexed:
            return self._read_indexed(connection, query, begin, end, limit)
        rows: list[EventRow] = []
        for table in (events, audit) if query.newest_first else (audit, events):
            part = _read_part(connection, table, query, begin, end, limit - len(rows))
            rows += part.rows
            if part.more:
                return EventPageRead(rows, rows[-1].position)
            if part.last is not None:
                return EventPageRead(rows, part.last)
        return EventPageRead(rows, None)

    def _read_indexed(
        self, connection: Connection, query: EventsWanted, begin: int, end: int, limit: int
    ) -> EventPageRead:
        positions, last = self._term_walk.positions(
            connection, query.terms(), begin, end, limit, newest_first=query.newest_first
        )
        rows, cut = read_events_at(connection, positions, MAX_PAGE_BYTES)
        return EventPageRead(rows, rows[-1].position if cut else last)


def _read_part(connection: Connection, table: Table, query: EventsWanted, begin: int, end: int, limit: int) -> _Part:
    statement = _statements(table, _scope(query), newest_first=query.newest_first)
    values = {
        "key": query.job_key,
        "owner": query.owner,
        "begin": begin,
        "end": end,
        "changes": sum(CHANGE_BITS[change] for change in query.changes) or _ALL,
        "limit": limit + 1,
        "looked_at": MAX_LOOKED_AT,
    }
    looked_at, lowest, highest = connection.execute(statement.looked_at, values).one()
    fetched = connection.execute(statement.rows, values).all() if looked_at else []
    rows = [EventRow(row.position, row.job_key, row.message, None) for row in fetched[:limit]]
    last = (lowest if query.newest_first else highest) if looked_at == MAX_LOOKED_AT else None
    return _Part(rows, bool(fetched) and fetched[0].row_count > len(rows), last)


class _Statements(NamedTuple):
    looked_at: Select[Any]
    rows: Select[Any]


def _scope(query: EventsWanted) -> str:
    return "job" if query.job_key is not None else "all" if query.owner is None else "owner"


@cache  # at first use: the twelve take a tenth of a server's start
def _statements(table: Table, scope: str, *, newest_first: bool) -> _Statements:
    position = table.c.position
    scopes = {
        "job": [table.c.job_key == bindparam("key", type_=Text)],
        "owner": [_OWNERS[table] == bindparam("owner", type_=Text)],
        "all": [],
    }
    looked_at = (
        select(position, table.c.changes, *([table.c.job_key] if table is audit else ()))
        .where(
            *scopes[scope],
            position > bindparam("begin", type_=BigInteger),
            position <= bindparam("end", type_=BigInteger),
        )
        .order_by(position.desc() if newest_first else position)
        .limit(bindparam("looked_at"))
        .subquery()
    )
    is_row = [table.c[name] == looked_at.c[name] for name in ("position", "job_key") if name in looked_at.c]
    order = position.desc() if newest_first else position
    sized = (
        select(position, table.c.job_key, func.length(table.c.message).label("size"))
        .join_from(looked_at, table, and_(*is_row))
        .where(looked_at.c.changes.bitwise_and(bindparam("changes", type_=BigInteger)) != 0)
        .order_by(order)
        .limit(bindparam("limit"))
        .subquery()
    )
    ordered = sized.c.position.desc() if newest_first else sized.c.position
    measured = select(
        sized.c.position,
        sized.c.job_key,
        (func.sum(sized.c.size).over(order_by=ordered) - sized.c.size).label("bytes_before"),
        func.count().over().label("row_count"),
    ).subquery()
    rows = (
        select(position, table.c.job_key, table.c.message, measured.c.row_count)
        .join_from(
            measured, table, and_(table.c.position == measured.c.position, table.c.job_key == measured.c.job_key)
        )
        .where(measured.c.bytes_before < MAX_PAGE_BYTES)
        .order_by(order)
    )
    ends: list[ColumnElement[Any]] = [func.count(), func.min(looked_at.c.position), func.max(looked_at.c.position)]
    return _Statements(select(*ends), rows)


def _positions(connection: Connection, query: EventsWanted) -> tuple[int, int]:
    """Return the positions of a query: later ones never have earlier times, so that few are looked up."""
    begin, end = query.begin, query.end
    if query.commit_time != ANY_TIME:
        newest, trimmed = position_of(connection), connection.execute(select(ledger.c.trimmed)).scalar_one()

        def time_of(position: int) -> Micros:
            for table in (audit, events) if position <= trimmed else (events,):
                if (row := connection.execute(_TIMES[table], {"position": position}).first()) is not None:
                    return Micros(row.commit_time)
            return Micros(2**63 - 1)

        positions = range(1, newest + 1)
        if query.commit_time.start is not None:
            begin = max(begin, bisect_left(positions, query.commit_time.start, key=time_of))
        if query.commit_time.end is not None:
            end = min(end, bisect_left(positions, query.commit_time.end, key=time_of))
    return begin, end
