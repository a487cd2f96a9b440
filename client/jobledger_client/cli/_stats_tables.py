"""Statistics as text: a table by kind, and a series as bars."""

from collections.abc import Iterator, Sequence
from math import ceil

from jobledger.v1.stats_pb2 import DurationStats, GetJobStatsResponse, JobActivity, JobStats, StatsPoint
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobledger_client.cli import _format as formatting

WIDE = 110  # columns
_MIN_BARS, _MAX_BARS = 10, 100
_GAP = 2  # columns after a column
_BARS = " ▁▂▃▄▅▆▇█"
_SERIES = {
    "created": "created",
    "completed": "completed",
    "failed": "failed",
    "items": "items_completed",
}


def report(stats: GetJobStatsResponse, *, width: int) -> Iterator[RenderableType]:
    """Yield the parts to print."""
    start, end = stats.time_range.start_time, stats.time_range.end_time
    yield Text(f"now, and from {formatting.local_time(start)} to {formatting.local_time(end)}", style="dim")
    yield by_kind(stats, width=width)
    if stats.omitted_kind_count:
        yield Text(f"and {stats.omitted_kind_count:,} more kinds; --kind shows them", style="dim")
    chunks = stats.total.activity.chunks
    if chunks.ended:
        yield Text()
        yield chunk_figures(stats.total.activity)
    if stats.total.failures:
        yield Text()
        yield failure_groups(stats.total)
        if stats.total.omitted_failure_count:
            yield Text(f"and {stats.total.omitted_failure_count:,} more groups of failed jobs", style="dim")
    if stats.series:
        yield Text()
        yield series_bars(stats.series, width=width)
    for kind_series in stats.series_by_kind:
        yield Text()
        yield formatting.literal(kind_series.kind)
        yield series_bars(kind_series.points, width=width)
    if stats.omitted_series_count:
        yield Text(f"and {stats.omitted_series_count:,} more kinds; --kind shows their series", style="dim")


def chunk_figures(activity: JobActivity) -> Table:
    """Return one row: what became of the attempts at chunks, and how long those took that completed theirs."""
    chunks = activity.chunks
    table = numbers("ATTEMPTS", "COMPLETED", "FAILED", "EXPIRED", "TIMED OUT", "RETRIED", "P50", "P95", "P99")
    failed = activity.failed_attempts - chunks.expired - chunks.timed_out
    counts = (chunks.ended, activity.chunks_completed, failed, chunks.expired, chunks.timed_out, chunks.retried)
    table.add_row(*(f"{count:,}" for count in counts), *_times(chunks.processing, "p50", "p95", "p99"))
    return table


def failure_groups(stats: JobStats) -> Table:
    """Return a row for each reason for which runs failed, with an example job; a deleted one is not shown."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("FAILED", justify="right", no_wrap=True)
    for column in ("ERROR CODE", "STAGE", "EXAMPLE"):
        table.add_column(column, overflow="fold")
    for group in stats.failures:
        texts = (formatting.literal(text or "–") for text in (group.error_code, group.stage, group.example_job_id))  # noqa: RUF001
        table.add_row(f"{group.count:,}", *texts)
    return table


def _times(durations: DurationStats, *names: str) -> Iterator[str]:
    for name in names:
        seconds = getattr(durations, f"{name}_seconds")
        yield formatting.duration(seconds) if durations.count else "–"  # noqa: RUF001 - none


def numbers(*columns: str) -> Table:
    """Return an empty table whose first column is a name, and whose others are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
    return table


def by_kind(stats: GetJobStatsResponse, *, width: int) -> Table:
    """Return a row for each kind and one for all; a wide terminal gets more columns."""
    wide = width >= WIDE
    more = ("CHUNKS", "HELD", "OLDEST") if wide else ()
    times = ("MEAN", "P50", "P95", "P99", "ITEMS/S", "STORED") if wide else ("P50", "P95")
    table = numbers("KIND", "QUEUED", "IN WORK", *more, "COMPLETED", "FAILED", "SUCCESS", *times)
    for kind_stats in stats.kinds:
        table.add_row(formatting.literal(kind_stats.kind), *_cells(kind_stats.stats, wide=wide))
    if len(stats.kinds) != 1:
        table.add_row("all", *_cells(stats.total, wide=wide), style="bold")
    return table


def _cells(stats: JobStats, *, wide: bool) -> Iterator[str]:
    now, activity = stats.now, stats.activity
    yield f"{now.queued:,}"
    yield f"{now.running + now.cancelling:,}"
    if wide:
        yield f"{now.chunks_pending:,}+{now.chunks_processing:,}"
        yield f"{sum(held.chunk_count for held in now.chunks_held):,}"
        yield formatting.age(now.oldest_queued_time) if now.HasField("oldest_queued_time") else "–"  # noqa: RUF001 - none
    yield f"{activity.completed:,}"
    yield f"{activity.failed:,}"
    yield formatting.percent(activity.success_rate * 100) if activity.HasField("success_rate") else "–"  # noqa: RUF001
    yield from _times(activity.processing, *(("mean", "p50", "p95", "p99") if wide else ("p50", "p95")))
    if wide:
        yield formatting.rate(activity.items_per_second)
        yield formatting.size(now.artifact_bytes)


def series_bars(series: Sequence[StatsPoint], *, width: int) -> Group:
    """Return a row of bars for each field; a bar stands for several points when there are many."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), show_header=False)
    for column in ("name", "bars", "totals"):
        table.add_column(column, no_wrap=True)
    name_width = max(map(len, _SERIES))
    totals_width = max(len(_totals([_sum(series, field)])) for field in _SERIES.values())
    free_width = width - name_width - totals_width - 3 * _GAP
    points_per_bar = ceil(len(series) / min(max(free_width, _MIN_BARS), _MAX_BARS))
    for name, field in _SERIES.items():
        starts = range(0, len(series), points_per_bar)
        values = [_sum(series[start : start + points_per_bar], field) for start in starts]
        table.add_row(name, Text(bars(values), style="cyan"), Text(_totals(values)))
    end = formatting.local_time(series[-1].start_time)
    points = f", {points_per_bar} points a bar" if points_per_bar > 1 else ""
    time_range = Text(f"{formatting.local_time(series[0].start_time)} … {end}{points}", style="dim")
    return Group(table, Padding.indent(time_range, name_width + _GAP))


def _totals(values: Sequence[int]) -> str:
    return f"max {max(values):,}, total {sum(values):,}"


def _sum(points: Sequence[StatsPoint], field: str) -> int:
    activities: list[JobActivity] = [point.activity for point in points]
    return sum(getattr(activity, field) for activity in activities)


def bars(values: Sequence[int], levels: str = _BARS) -> str:
    """Return one character for each value, the highest for the largest; the lowest, a space, only for 0."""
    highest = max(*values, 1) if values else 1
    return "".join(levels[ceil(value * (len(levels) - 1) / highest)] for value in values)
