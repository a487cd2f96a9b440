"""GetJobStats, a method of JobService."""

from typing import Final

from jobledger.v1 import filter_pb2, stats_pb2
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.owners import owner_of
from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.micros import Micros
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import replies
from .rules import StatsQuery, numbers
from .store import SqlStatisticsStore

DAY_HOURS: Final = 24
MAX_POINTS: Final = 2_000
MAX_KIND_POINTS: Final = 20_000
"""The most points of a series times kinds that are named: a running total is read for each."""
_LAST_HOUR: Final = 253_402_297_200 * 1_000_000
_STEPS: Final = {stats_pb2.STATS_STEP_UNSPECIFIED: 0, stats_pb2.STATS_STEP_HOUR: 1, stats_pb2.STATS_STEP_DAY: DAY_HOURS}
METHODS: Final = (Method(JOB_SERVICE, "GetJobStats", Role.CALLER, Kind.READ),)


def query_of(request: stats_pb2.GetJobStatsRequest, caller: Caller, now: Micros) -> StatsQuery:
    """Return the query of GetJobStats at the time `now`, in microseconds."""
    with Checks() as checks:
        checks.kinds("kinds", request.kinds)
        owner = owner_of(checks, request, caller)
        kinds = tuple(dict.fromkeys(request.kinds))
        step = _STEPS.get(request.step)
        if step is None:
            checks.fault("step", f"value {request.step} must be HOUR, DAY, or UNSPECIFIED for no series")
        hours = _hours(checks, request.time_range, now)
        if step and (points := len(numbers(hours, step))) > MAX_POINTS:
            checks.fault("step", f"must make at most {MAX_POINTS} points of this time_range; got {points}")
        elif step and points * len(kinds) > MAX_KIND_POINTS:
            checks.fault(
                "step", f"must make at most {MAX_KIND_POINTS} points times kinds; got {points} times {len(kinds)}"
            )
    return StatsQuery(owner, kinds, hours, step or 0, request.include_service_jobs, request.series_by_kind)


def _hours(checks: Checks, span: filter_pb2.TimeRange, now: Micros) -> range:
    """Return the whole hours of a span: up to now, and from 24 hours before its end, unless it has other bounds."""
    end = _time(checks, "time_range.end_time", span) if span.HasField("end_time") else now
    start = _time(checks, "time_range.start_time", span) if span.HasField("start_time") else end - DAY_HOURS * HOUR
    if end <= start:
        rule = f"end_time, by default now, must be after start_time; got {time_text(start)} to {time_text(end)}"
        checks.fault("time_range", rule)
    return range(max(start // HOUR, 0), -(-end // HOUR))


def _time(checks: Checks, field: str, span: filter_pb2.TimeRange) -> int:
    time = checks.time(field, getattr(span, field.rpartition(".")[2]))
    if not 0 <= time <= _LAST_HOUR:
        checks.fault(field, f"value {time_text(time)} must be from 1970-01-01T00:00:00Z to 9999-12-31T23:00:00Z")
    return time


class StatisticsCalls(MsgStruct, frozen=True):
    """The method of JobService for figures."""

    store: SqlStatisticsStore
    kernel: Kernel

    async def GetJobStats(self, request: stats_pb2.GetJobStatsRequest, caller: Caller) -> bytes:
        now = self.kernel.clock()
        query = query_of(request, caller, now)
        return await self.kernel.readers.for_owner(query.owner, self._reply, query, now)

    def _reply(self, query: StatsQuery, now: Micros) -> bytes:
        return replies.reply(query, self.store.figures(query), now).SerializeToString()
