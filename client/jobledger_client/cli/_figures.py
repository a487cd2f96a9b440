"""Figures for people: a table by kind, and the course of a span as bars of text."""

from collections.abc import Iterator, Sequence
from math import ceil

from jobledger.v1.stats_pb2 import GetJobStatsResponse, JobActivity, JobStats, StatsPoint
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobledger_client.cli import _words as words

WIDE = 110  # columns
_FEWEST_BARS, _MOST_BARS = 10, 100
_GAP = 2  # columns after a column
_BARS = " ▁▂▃▄▅▆▇█"
_COURSES = {
    "created": "created",
    "completed": "completed",
    "failed": "failed",
    "items": "items_completed",
}


def report(found: GetJobStatsResponse, *, width: int) -> Iterator[RenderableType]:
    """Return what there is to print, part by part."""
    start, end = found.time_range.start_time, found.time_range.end_time
    yield Text(f"now, and from {words.local_time(start)} to {words.local_time(end)}", style="dim")
    yield by_kind(found, width=width)
    if found.omitted_kinds:
        yield Text(f"and {found.omitted_kinds:,} kinds more, which --kind shows", style="dim")
    if found.series:
        yield Text()
        yield course(found.series, width=width)


def numbers(*columns: str) -> Table:
    """Return an empty table whose first column is a name, and whose others are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
    return table


def by_kind(found: GetJobStatsResponse, *, width: int) -> Table:
    """Return a row for each kind and one for all; some of what there is to say needs a terminal that is wide."""
    wide = width >= WIDE
    more = ("CHUNKS", "OLDEST") if wide else ()
    times = ("MEAN", "P50", "P95", "P99", "ITEMS/S") if wide else ("P50", "P95")
    table = numbers("KIND", "QUEUED", "IN WORK", *more, "COMPLETED", "FAILED", "SUCCESS", *times)
    for one in found.kinds:
        table.add_row(words.literal(one.kind), *_cells(one.stats, wide=wide))
    if len(found.kinds) != 1:
        table.add_row("all", *_cells(found.total, wide=wide), style="bold")
    return table


def _cells(stats: JobStats, *, wide: bool) -> Iterator[str]:
    now, activity = stats.now, stats.activity
    yield f"{now.queued:,}"
    yield f"{now.running + now.cancelling:,}"
    if wide:
        yield f"{now.chunks_pending:,}+{now.chunks_processing:,}"
        yield words.age(now.oldest_queued_time) if now.HasField("oldest_queued_time") else "–"  # noqa: RUF001 - none
    yield f"{activity.completed:,}"
    yield f"{activity.failed:,}"
    yield words.percent(activity.success_rate * 100) if activity.HasField("success_rate") else "–"  # noqa: RUF001
    took = activity.processing
    for name in ("mean", "p50", "p95", "p99") if wide else ("p50", "p95"):
        yield words.duration(getattr(took, f"{name}_seconds")) if took.count else "–"  # noqa: RUF001 - none
    if wide:
        yield words.rate(activity.items_per_second)


def course(series: Sequence[StatsPoint], *, width: int) -> Group:
    """Return how it went, a row for each figure: a bar for each point, or for a few when there are many."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), show_header=False)
    for column in ("name", "bars", "most"):
        table.add_column(column, no_wrap=True)
    names = max(map(len, _COURSES))
    longest = max(len(_most([_sum(series, of)])) for of in _COURSES.values())
    room = width - names - longest - 3 * _GAP
    each = ceil(len(series) / min(max(room, _FEWEST_BARS), _MOST_BARS))
    for name, of in _COURSES.items():
        values = [_sum(series[begin : begin + each], of) for begin in range(0, len(series), each)]
        table.add_row(name, Text(bars(values), style="cyan"), Text(_most(values)))
    until = words.local_time(series[-1].start_time)
    points = f", {each} points a bar" if each > 1 else ""
    span = Text(f"{words.local_time(series[0].start_time)} … {until}{points}", style="dim")
    return Group(table, Padding.indent(span, names + _GAP))


def _most(values: Sequence[int]) -> str:
    return f"at most {max(values):,}, in all {sum(values):,}"


def _sum(points: Sequence[StatsPoint], of: str) -> int:
    activities: list[JobActivity] = [point.activity for point in points]
    return sum(getattr(activity, of) for activity in activities)


def bars(values: Sequence[int]) -> str:
    """Return a bar of text for each value, the highest for the largest; nothing only for 0."""
    most = max(*values, 1) if values else 1
    return "".join(_BARS[ceil(value * (len(_BARS) - 1) / most)] for value in values)
