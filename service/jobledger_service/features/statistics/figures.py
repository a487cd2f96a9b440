"""The figures of GetJobStats: from counts, rollups and running totals, never by counting jobs.

What is shown of all kinds together has rows of its own, from which those of the service's own kinds are subtracted; and
of the others only the kinds that are shown are read: the number of rows that are read does not grow with the kinds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import chunk_counts, counts, jobs, paused_kinds
from jobledger_service.core.model.service_kinds import ALL_KINDS, RESERVED
from jobledger_service.core.model.states import JobState

from .failure_rows import FailureReader
from .rollup import Activity
from .rules import MAX_KINDS, Figures, KindFigures, StatsQuery
from .running_totals import BASE_HOUR, RunningTotals
from .tables import rollups, running_totals

MAX_COUNTS: Final = 10_000
"""The most counts that are looked at to find kinds: of a kind there is one for each state that its jobs were in."""
MAX_SERIES_POINTS: Final = 2_000
"""The most points of the series of all kinds that have one."""


Rollup = Row[int, str, str, int, int, int]
"""Hour, kind, measure, bucket, count, total."""


class FiguresReader:
    """The statements that read figures, all in one snapshot."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._running = RunningTotals(dialect)
        self._oldest = _oldest(dialect)
        self._failures = FailureReader(dialect)

    def read(self, connection: Connection, query: StatsQuery) -> Figures:
        """Return the figures. Compacted totals precede every span."""
        query = replace(query, hours=range(max(query.hours.start, BASE_HOUR + 1), query.hours.stop))
        hours = list(_unfolded_hours(connection, query))
        names, omitted = query.kinds, 0
        if not names:
            shown = _kinds(query, hours)
            names = tuple(connection.execute(shown.limit(MAX_KINDS)).scalars())
            if len(names) == MAX_KINDS:
                omitted = connection.execute(select(func.count()).select_from(shown.subquery())).scalar_one()
                omitted -= MAX_KINDS
        figures = Figures({kind: KindFigures() for kind in names}, KindFigures(), {}, omitted)
        self._add_counts(connection, query, figures)
        self._add_paused(connection, query, figures)
        self._see_oldest(connection, query, figures)
        earlier = self._add_folded(connection, query, figures)
        unfolded = self._add_unfolded(connection, query, hours, figures)
        if query.numbers:
            self._add_series(connection, query, earlier, unfolded, figures)
        figures.failures = self._failures.read(connection, query.owner, query.failing, query.hours)
        return figures

    def _keys(self, query: StatsQuery, figures: Figures) -> dict[str, object]:
        return {"keys": self._dialect.key_values({*figures.kinds, *query.together, *query.excluded})}

    def _add_counts(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        columns = (counts.c.jobs, *chunk_counts, counts.c.artifact_bytes)
        of_kinds = counts.c.kind.in_(self._dialect.keys())
        by_kind = select(counts.c.kind, counts.c.state, *columns).where(counts.c.owner == query.owner, of_kinds)
        for kind, state, *numbers in connection.execute(by_kind, self._keys(query, figures)):
            for counted, sign in _counted(query, figures, kind):
                counted.put(JobState(state), *(sign * number for number in numbers))

    def _add_paused(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        """Add the waiting chunks of paused kinds, of which an owner has few: no count of a kind knows of its pause."""
        for kind, pending in connection.execute(_PAUSED, {"of": query.owner}):
            if kind in figures.kinds:
                figures.kinds[kind].chunks_paused = pending
            if not query.kinds or kind in query.kinds:
                figures.total.chunks_paused += pending

    def _see_oldest(self, connection: Connection, query: StatsQuery, figures: Figures) -> None:
        """Look for the oldest job in the queue, of all kinds and of each: one seek in an index for each kind."""
        waiting = [kind for kind, kind_figures in figures.kinds.items() if kind_figures.jobs.get(JobState.QUEUED)]
        if waiting:
            parameters = {"owner": query.owner, "keys": self._dialect.key_values(waiting)}
            for kind, oldest in connection.execute(self._oldest, parameters):
                figures.kinds[kind].oldest_queued = oldest
        if query.kinds:
            times = [
                kind_figures.oldest_queued
                for kind_figures in figures.kinds.values()
                if kind_figures.oldest_queued is not None
            ]
            figures.total.oldest_queued = min(times, default=None)
        else:
            queued = select(jobs.c.create_time).where(*_asked(jobs, query), jobs.c.state == JobState.QUEUED.value)
            figures.total.oldest_queued = connection.execute(queued.order_by(jobs.c.create_time).limit(1)).scalar()

    def _add_folded(self, connection: Connection, query: StatsQuery, figures: Figures) -> Mapping[str, Activity]:
        """Add what is in running totals: of each kind, and of all. A fold adds to both in one transaction.

        Return the totals before the span.
        """
        kinds = {*figures.kinds, *query.together, *query.excluded}
        start, stop = (
            self._running.before(connection, query.owner, kinds, hour) for hour in (query.hours.start, query.hours.stop)
        )
        for kind in kinds:
            for counted, sign in _counted(query, figures, kind):
                counted.activity.add(stop[kind].since(start[kind]), sign)
        return start

    def _add_unfolded(
        self, connection: Connection, query: StatsQuery, hours: Sequence[int], figures: Figures
    ) -> Sequence[Rollup]:
        """Add the rollups of the span that are not in the running totals, of its newest hour or two; return them."""
        of_kinds = (rollups.c.hour.in_(hours), rollups.c.kind.in_(self._dialect.keys()))
        statement = _ROLLUPS.where(rollups.c.owner == query.owner, *of_kinds)
        unfolded = connection.execute(statement, self._keys(query, figures)).all()
        for _, kind, measure, bucket, count, total in unfolded:
            for counted, sign in _counted(query, figures, kind):
                counted.activity.put(measure, bucket, sign * count, sign * total)
        return unfolded

    def _add_series(
        self,
        connection: Connection,
        query: StatsQuery,
        earlier: Mapping[str, Activity],
        unfolded: Sequence[Rollup],
        figures: Figures,
    ) -> None:
        """Add the points of all kinds, and those of each kind that did anything, while there is room."""
        if query.series_by_kind:
            active = sorted(kind for kind, kind_figures in figures.kinds.items() if kind_figures.activity)
            shown = active[: MAX_SERIES_POINTS // len(query.numbers)]
            figures.kind_points = {kind: {} for kind in shown}
            figures.omitted_series_count = len(active) - len(shown)
        walked = {kind: earlier[kind] for kind in {*query.together, *query.excluded, *figures.kind_points}}
        for kind, number, activity in self._running.walk(connection, query.owner, query.hours, query.step, walked):
            for point, sign in _points(query, figures, kind, number):
                point.add(activity, sign)
        for hour, kind, measure, bucket, count, total in unfolded:
            for point, sign in _points(query, figures, kind, hour // query.step):
                point.put(measure, bucket, sign * count, sign * total)


def _counted(query: StatsQuery, figures: Figures, kind: str) -> Iterator[tuple[KindFigures, int]]:
    """Yield the figures into which a kind counts, each with the sign: its own, and the total."""
    if (kind_figures := figures.kinds.get(kind)) is not None:
        yield kind_figures, 1
    if sign := query.sign(kind):
        yield figures.total, sign


def _points(query: StatsQuery, figures: Figures, kind: str, number: int) -> Iterator[tuple[Activity, int]]:
    """Yield the points into which a kind counts, each with the sign: its own, and that of all kinds."""
    if (kind_points := figures.kind_points.get(kind)) is not None:
        yield kind_points.setdefault(number, Activity()), 1
    if sign := query.sign(kind):
        yield figures.points.setdefault(number, Activity()), sign


def _asked(table: Table, query: StatsQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of the query's owner and kinds."""
    conditions: list[ColumnElement[bool]] = [table.c.owner == query.owner]
    if query.kinds:
        conditions.append(table.c.kind.in_(query.kinds))
    elif query.callers_only:
        conditions.append(~table.c.kind.startswith(RESERVED))
    return conditions


def _unfolded_hours(connection: Connection, query: StatsQuery) -> Iterator[int]:
    """Yield the hours of the span that have rollups: one seek for each of these, which are few."""
    hour = query.hours.start
    following = select(func.min(rollups.c.hour)).where(
        rollups.c.owner == query.owner, rollups.c.hour >= bindparam("hour"), rollups.c.hour < query.hours.stop
    )
    while (next_hour := connection.execute(following, {"hour": hour}).scalar()) is not None:
        yield next_hour
        hour = next_hour + 1


def _kinds(query: StatsQuery, hours: Sequence[int]) -> Select[Any]:
    """Return the statement of the kinds with jobs, or with activity in the span, in order.

    Every kind is in the counts. At most MAX_COUNTS of these are looked at.
    """
    page = select(counts.c.kind, counts.c.jobs).where(*_asked(counts, query), counts.c.kind != ALL_KINDS)
    looked_at = page.order_by(counts.c.kind, counts.c.state).limit(MAX_COUNTS).subquery("looked_at")
    kind = looked_at.c.kind
    total = running_totals.c
    in_span = (total.owner == query.owner, total.hour >= query.hours.start, total.hour < query.hours.stop)
    folded = exists().where(*in_span, total.kind == kind)
    unfolded = exists().where(rollups.c.owner == query.owner, rollups.c.hour.in_(hours), rollups.c.kind == kind)
    return select(kind).where(or_(looked_at.c.jobs != 0, folded, unfolded)).distinct().order_by(kind)


def _oldest(dialect: Dialect) -> Select[Any]:
    shown_kinds = dialect.keys().subquery("shown_kinds")
    kind = shown_kinds.c[0]
    oldest = (
        select(func.min(jobs.c.create_time))
        .where(jobs.c.owner == bindparam("owner"), jobs.c.kind == kind, jobs.c.state == JobState.QUEUED.value)
        .correlate(shown_kinds)
    )
    return select(kind, oldest.scalar_subquery())


_ROLLUPS: Final = select(
    rollups.c.hour, rollups.c.kind, rollups.c.measure, rollups.c.bucket, rollups.c["count"], rollups.c.total
)

_PENDING: Final = select(cast(func.coalesce(func.sum(counts.c.chunks_pending), 0), BigInteger)).where(
    counts.c.owner == paused_kinds.c.owner, counts.c.kind == paused_kinds.c.kind
)
_PAUSED: Final = select(paused_kinds.c.kind, _PENDING.correlate(paused_kinds).scalar_subquery()).where(
    paused_kinds.c.owner == bindparam("of")
)
