"""The figures of GetJobStats: from counts, rollups and running totals, never by counting jobs.

The database adds up what is shown as one figure, and only the kinds that are shown are read one by one: the number of
rows that are read does not grow with the number of kinds.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from msgspec.structs import replace as with_changes
from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, exists, func, or_, select

from jobledger_service.core.model.service_kinds import RESERVED, SERVICE_KINDS
from jobledger_service.core.model.states import JobState
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.tables import chunk_counts, counts, jobs, rollups, running_totals

from .activity import Activity
from .rules import MAX_KINDS, Figures, KindFigures, StatsQuery
from .running_totals import ALL_KINDS, RunningTotals
from .stale_totals import BASE_HOUR

_PART: Final = 2**31
"""Totals of rollups are summed in two parts, because their sum may need more than 64 bits."""


class FiguresReader:
    """The statements that read figures, all in one snapshot."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._running = RunningTotals(dialect)
        self._oldest = _oldest(dialect)

    def read(self, connection: Connection, query: StatsQuery) -> Figures:
        """Return the figures. What is not kept by the hour any more is before every span."""
        query = with_changes(query, hours=range(max(query.hours.start, BASE_HOUR + 1), query.hours.stop))
        names, omitted = query.kinds, 0
        if not names:
            names = tuple(connection.execute(_kinds(query).limit(MAX_KINDS)).scalars())
            if len(names) == MAX_KINDS:
                omitted = connection.execute(select(func.count()).select_from(_kinds(query).subquery())).scalar_one()
                omitted -= MAX_KINDS
        figures = Figures({kind: KindFigures() for kind in names}, KindFigures(), {}, omitted)
        self._add_counts(connection, query, figures)
        self._see_oldest(connection, query, figures)
        self._add_folded(connection, query, figures)
        self._add_unfolded(connection, query, figures)
        return figures

    def _keys(self, figures: Figures) -> dict[str, object]:
        return {"keys": self._dialect.key_values(figures.kinds)}

    def _add_counts(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        columns = (counts.c.jobs, *chunk_counts)
        sums = select(counts.c.state, *map(func.sum, columns)).where(*_asked(counts, query)).group_by(counts.c.state)
        for state, *numbers in connection.execute(sums):
            figures.total.put(JobState(state), *map(int, numbers))
        shown = counts.c.kind.in_(self._dialect.keys())
        by_kind = select(counts.c.kind, counts.c.state, *columns).where(counts.c.owner == query.owner, shown)
        for kind, state, *numbers in connection.execute(by_kind, self._keys(figures)):
            figures.kinds[kind].put(JobState(state), *numbers)

    def _see_oldest(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        """Look for the oldest job in the queue, of all kinds and of each: one seek in an index for each kind."""
        waiting = [kind for kind, one in figures.kinds.items() if one.jobs.get(JobState.QUEUED)]
        if waiting:
            wanted = {"owner": query.owner, "keys": self._dialect.key_values(waiting)}
            for kind, oldest in connection.execute(self._oldest, wanted):
                figures.kinds[kind].oldest_queued = oldest
        if query.kinds:
            times = [one.oldest_queued for one in figures.kinds.values() if one.oldest_queued is not None]
            figures.total.oldest_queued = min(times, default=None)
        else:
            queued = select(jobs.c.create_time).where(*_asked(jobs, query), jobs.c.state == JobState.QUEUED.value)
            figures.total.oldest_queued = connection.execute(queued.order_by(jobs.c.create_time).limit(1)).scalar()

    def _add_folded(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        """Add what is in running totals: of each kind, and of all. A fold adds to both in one transaction."""
        together = query.kinds or (ALL_KINDS,)
        excluded = SERVICE_KINDS if query.callers_only else ()
        wanted = {*figures.kinds, *together, *excluded}
        start, stop = (
            self._running.before(connection, query.owner, wanted, hour)
            for hour in (query.hours.start, query.hours.stop)
        )
        folded = {kind: stop[kind].since(start[kind]) for kind in wanted}
        for kind, one in figures.kinds.items():
            one.activity.add(folded[kind])
        for kind in together:
            figures.total.activity.add(folded[kind])
        for kind in excluded:
            figures.total.activity = figures.total.activity.since(folded[kind])
        if query.step:
            self._add_points(connection, query, figures.points, start)

    def _add_points(
        self, connection: Connection, query: StatsQuery, points: dict[int, Activity], start: Mapping[str, Activity]
    ) -> None:
        def walk(kind: str) -> Iterator[tuple[int, Activity]]:
            return self._running.walk(connection, query.owner, kind, query.hours, query.step, start[kind])

        for number, activity in chain.from_iterable(map(walk, query.kinds or (ALL_KINDS,))):
            points.setdefault(number, Activity()).add(activity)
        for number, activity in chain.from_iterable(map(walk, SERVICE_KINDS if query.callers_only else ())):
            points[number] = points[number].since(activity)

    def _add_unfolded(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        """Add the rollups of the span that are not in the running totals: of its newest hour or two."""
        for hour, *rollup in connection.execute(_unfolded(query, rollups.c.hour).where(*_asked(rollups, query))):
            figures.total.activity.put(*_summed(rollup))
            if query.step:
                figures.points.setdefault(hour // query.step, Activity()).put(*_summed(rollup))
        shown = rollups.c.kind.in_(self._dialect.keys())
        for kind, *rollup in connection.execute(_unfolded(query, rollups.c.kind).where(shown), self._keys(figures)):
            figures.kinds[kind].activity.put(*_summed(rollup))


def _asked(table: Table, query: StatsQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of the query's owner and kinds."""
    conditions: list[ColumnElement[bool]] = [table.c.owner == query.owner]
    if query.kinds:
        conditions.append(table.c.kind.in_(query.kinds))
    elif query.callers_only:
        conditions.append(~table.c.kind.startswith(RESERVED))
    return conditions


def _in_span(table: Table, query: StatsQuery) -> list[ColumnElement[bool]]:
    hour = table.c.hour
    return [table.c.owner == query.owner, hour >= query.hours.start, hour < query.hours.stop]


def _kinds(query: StatsQuery) -> Select[Any]:
    """Return the statement of the kinds with jobs, or with activity in the span. Every kind is in the counts."""
    folded = exists().where(*_in_span(running_totals, query), running_totals.c.kind == counts.c.kind)
    unfolded = select(rollups.c.kind).where(*_in_span(rollups, query))
    shown = or_(counts.c.jobs != 0, folded, counts.c.kind.in_(unfolded))
    return select(counts.c.kind).where(*_asked(counts, query), shown).distinct().order_by(counts.c.kind)


def _oldest(dialect: Dialect) -> Select[Any]:
    wanted = dialect.keys().subquery("wanted")
    kind = wanted.c[0]
    oldest = (
        select(func.min(jobs.c.create_time))
        .where(jobs.c.owner == bindparam("owner"), jobs.c.kind == kind, jobs.c.state == JobState.QUEUED.value)
        .correlate(wanted)
    )
    return select(kind, oldest.scalar_subquery())


def _unfolded(query: StatsQuery, by: ColumnElement[Any]) -> Select[Any]:
    """Return the statement of the sums of the span's rollups."""
    count, total = rollups.c["count"], rollups.c.total
    sums = (func.sum(count), func.sum(total.op("/")(_PART)), func.sum(total % _PART))
    columns = (by, rollups.c.measure, rollups.c.bucket)
    return select(*columns, *sums).where(*_in_span(rollups, query)).group_by(*columns)


def _summed(rollup: list[Any]) -> tuple[str, int, int, int]:
    measure, bucket, count, high, low = rollup
    return measure, bucket, int(count), int(high) * _PART + int(low)
