"""Figures as messages of the contract."""

from typing import Final

from jobledger.v1 import stats_pb2
from jobledger.v1.chunk_pb2 import HOLD_REASON_PAUSED
from jobledger.v1.filter_pb2 import TimeRange

from jobledger_service.core.api.convert import HOLD_REASONS, MICROS, duration, maker, timestamp
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import JobState

from .failures import FailureGroup
from .rollup import ATTEMPTS_FAILED, RUNS_ENDED, Activity, Durations, Measure, clamped
from .rules import Figures, KindFigures, Points, StatsQuery

_REASONS: Final = (*(HOLD_REASONS[reason] for reason in HoldReason), HOLD_REASON_PAUSED)
_failure: Final = maker(FailureGroup, stats_pb2.FailureGroup)


def reply(query: StatsQuery, figures: Figures, now: Micros) -> stats_pb2.GetJobStatsResponse:
    """Return the reply to a query at the time `now`, in microseconds."""
    total = _stats(figures.total, query.hours, now)
    total.failures.extend(map(_failure, figures.failures.shown))
    total.omitted_failure_count = figures.failures.omitted
    return stats_pb2.GetJobStatsResponse(
        time_range=TimeRange(
            start_time=timestamp(query.hours.start * HOUR), end_time=timestamp(query.hours.stop * HOUR)
        ),
        total=total,
        kinds=[
            stats_pb2.KindStats(kind=kind, stats=_stats(kind_figures, query.hours, now))
            for kind, kind_figures in sorted(figures.kinds.items())
            if kind_figures
        ],
        omitted_kind_count=figures.omitted_kind_count,
        series=_series(query, figures.points, now),
        series_by_kind=[
            stats_pb2.KindSeries(kind=kind, points=_series(query, points, now))
            for kind, points in sorted(figures.kind_points.items())
        ],
        omitted_series_count=figures.omitted_series_count,
    )


def _series(query: StatsQuery, points: Points, now: Micros) -> list[stats_pb2.StatsPoint]:
    """Return all points of the span, also empty ones."""
    series = []
    for number in query.numbers:
        first = number * query.step
        hours = range(max(first, query.hours.start), min(first + query.step, query.hours.stop))
        activity = _activity(points.get(number, Activity()), hours, now)
        series.append(stats_pb2.StatsPoint(start_time=timestamp(first * HOUR), activity=activity))
    return series


def _stats(figures: KindFigures, hours: range, now: Micros) -> stats_pb2.JobStats:
    oldest = figures.oldest_queued
    counts = stats_pb2.JobCounts(
        **{state.lower(): figures.jobs.get(state, 0) for state in JobState},
        chunks_pending=figures.chunks_pending,
        chunks_processing=figures.chunks_processing,
        oldest_queued_time=None if oldest is None else timestamp(oldest),
        oldest_queued_age=None if oldest is None else duration(max(now - oldest, 0)),
        chunks_held=[
            stats_pb2.HeldChunks(reason=reason, chunk_count=chunks)
            for reason, chunks in zip(_REASONS, (*figures.chunks_held, figures.chunks_paused), strict=True)
            if chunks
        ],
        artifact_bytes=max(clamped(figures.artifact_bytes), 0),
    )
    return stats_pb2.JobStats(now=counts, activity=_activity(figures.activity, hours, now))


def _activity(activity: Activity, hours: range, now: Micros) -> stats_pb2.JobActivity:
    completed, failed = activity.count(Measure.COMPLETED), activity.count(Measure.FAILED)
    items = clamped(activity.total(Measure.ITEMS))
    passed = min(hours.stop * HOUR, now) - hours.start * HOUR
    return stats_pb2.JobActivity(
        created=activity.count(Measure.CREATED),
        started=activity.count(Measure.STARTED),
        completed=completed,
        failed=failed,
        cancelled=activity.count(Measure.CANCELLED),
        success_rate=completed / (completed + failed) if completed + failed else None,
        processing=_durations(activity.durations(*RUNS_ENDED)),
        waiting=_durations(activity.durations(Measure.STARTED)),
        chunks_completed=activity.count(Measure.CHUNKS),
        items_completed=items,
        items_per_second=items * MICROS / passed if passed > 0 else 0.0,
        artifact_count=activity.count(Measure.ARTIFACTS),
        artifact_bytes=clamped(activity.total(Measure.ARTIFACTS)),
        job_retries=activity.count(Measure.JOB_RETRIES),
        failed_attempts=activity.count(*ATTEMPTS_FAILED),
        chunks=stats_pb2.ChunkActivity(
            ended=activity.count(Measure.CHUNKS, *ATTEMPTS_FAILED),
            expired=activity.count(Measure.EXPIRED_ATTEMPTS),
            timed_out=activity.count(Measure.TIMED_OUT_ATTEMPTS),
            retried=activity.count(Measure.RETRIED_ATTEMPTS),
            processing=_durations(activity.durations(Measure.CHUNKS)),
        ),
    )


def _durations(durations: Durations) -> stats_pb2.DurationStats:
    count = durations.count
    if not count:
        return stats_pb2.DurationStats()
    p50, p95, p99 = durations.percentiles(50, 95, 99)
    return stats_pb2.DurationStats(
        count=count,
        total_seconds=durations.total / MICROS,
        mean_seconds=durations.total / count / MICROS,
        p50_seconds=p50 / MICROS,
        p95_seconds=p95 / MICROS,
        p99_seconds=p99 / MICROS,
    )
