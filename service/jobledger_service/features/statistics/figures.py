"""The figures of GetJobStats: from counts, rollups and running totals, never by counting jobs."""

from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, select

from jobledger_service.core.model.service_kinds import RESERVED, SERVICE_KINDS
from jobledger_service.core.model.states import JobState
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.tables import counts, jobs, rollups

from .activity import Activity
from .rules import Figures, KindFigures, StatsQuery
from .running_totals import ALL_KINDS, RunningTotals


class FiguresReader:
    """The statements that read figures, all in one snapshot."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._running = RunningTotals(dialect)
        self._oldest = _oldest(dialect)

    def read(self, connection: Connection, query: StatsQuery) -> Figures:
        """Return the figures."""
        kinds = self._now(connection, query)
        self._see_oldest(connection, query, kinds)
        start, stop = (
            self._running.before(connection, query.owner, kinds, hour) for hour in (query.hours.start, query.hours.stop)
        )
        for kind, figures in kinds.items():
            figures.activity = stop[kind].since(start[kind])
        points: dict[int, Activity] = {}
        if query.step:
            walked = self._running.walk(connection, query.owner, query.kinds or (ALL_KINDS,), query.hours, query.step)
            for number, activity in walked:
                points.setdefault(number, Activity()).add(activity)
            if query.callers_only:
                self._leave_out_service_kinds(connection, query, points)
        for hour, kind, *rollup in connection.execute(_unfolded(query)):
            kinds.setdefault(kind, KindFigures()).activity.put(*rollup)
            if query.step:
                points.setdefault(hour // query.step, Activity()).put(*rollup)
        return Figures(kinds, points)

    def _leave_out_service_kinds(self, connection: Connection, query: StatsQuery, points: dict[int, Activity]) -> None:
        """Subtract the service's own kinds from points of all kinds: each fold adds to both in one transaction."""
        for number, activity in self._running.walk(connection, query.owner, SERVICE_KINDS, query.hours, query.step):
            points[number] = points[number].since(activity)

    def _now(self, connection: Connection, query: StatsQuery) -> dict[str, KindFigures]:
        """Return what there is of each kind. A kind that ever had a job is in the counts."""
        wanted = select(counts).where(counts.c.owner == query.owner)
        if query.kinds:
            wanted = wanted.where(counts.c.kind.in_(query.kinds))
        elif query.callers_only:
            wanted = wanted.where(~counts.c.kind.startswith(RESERVED))
        kinds: dict[str, KindFigures] = {}
        for _, kind, state, number, pending, processing in connection.execute(wanted):
            figures = kinds.setdefault(kind, KindFigures())
            figures.jobs[JobState(state)] = number
            figures.chunks_pending += pending
            figures.chunks_processing += processing
        return kinds

    def _see_oldest(self, connection: Connection, query: StatsQuery, kinds: dict[str, KindFigures]) -> None:
        """Look for the oldest job of each kind that has any in the queue: one seek in an index."""
        waiting = [kind for kind, figures in kinds.items() if figures.jobs.get(JobState.QUEUED)]
        if waiting:
            wanted = {"owner": query.owner, "keys": self._dialect.key_values(waiting)}
            for kind, oldest in connection.execute(self._oldest, wanted):
                kinds[kind].oldest_queued = oldest


def _oldest(dialect: Dialect) -> Select[Any]:
    wanted = dialect.keys().subquery("wanted")
    kind = wanted.c[0]
    oldest = (
        select(func.min(jobs.c.create_time))
        .where(jobs.c.owner == bindparam("owner"), jobs.c.kind == kind, jobs.c.state == JobState.QUEUED.value)
        .correlate(wanted)
    )
    return select(kind, oldest.scalar_subquery())


def _unfolded(query: StatsQuery) -> Select[Any]:
    """Return the statement of the rollups of the span that are not in the running totals: of its newest hour or two."""
    span = and_(rollups.c.owner == query.owner, rollups.c.hour >= query.hours.start, rollups.c.hour < query.hours.stop)
    if query.kinds:
        span = and_(span, rollups.c.kind.in_(query.kinds))
    elif query.callers_only:
        span = and_(span, ~rollups.c.kind.startswith(RESERVED))
    return select(
        rollups.c.hour, rollups.c.kind, rollups.c.measure, rollups.c.bucket, rollups.c["count"], rollups.c.total
    ).where(span)
