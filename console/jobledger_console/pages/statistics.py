"""The page of statistics: throughput, success, percentiles and the age of the queue, in total and by kind."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from jobledger.v1.stats_pb2 import DurationStats, GetJobStatsResponse, JobStats, StatsPoint
from jobledger_client import StatsStep
from nicegui import ui

from jobledger_console.components.charts import axis, show_chart, theme_colour
from jobledger_console.components.fields import show_input, show_select
from jobledger_console.components.messages import show_empty, show_heading
from jobledger_console.components.table import Column, DataTable, Row, link_cell
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import Reading, show_owner
from jobledger_console.wording import duration, percent, plural, rate, seconds, size

READ_SECONDS: Final = 10.0
NONE: Final = "–"  # noqa: RUF001 - an empty figure
_CHART_HEIGHT: Final = 230
_MAX_AGES: Final = 8
"""Kinds whose queues are drawn: those of the oldest jobs."""
_OUTCOMES: Final = (("completed", "completed"), ("failed", "failed"), ("cancelled", "cancelled"))


@dataclass(frozen=True, slots=True)
class Span:
    """A span that is chosen, and the step of its series."""

    label: str
    length: timedelta
    step: StatsStep
    hint: str

    @property
    def range(self) -> tuple[datetime, None]:
        """The span until now."""
        return datetime.now(UTC) - self.length, None


SPANS: Final = {
    "24h": Span("24 hours", timedelta(hours=24), StatsStep.HOUR, "by hour"),
    "7d": Span("7 days", timedelta(days=7), StatsStep.HOUR, "by hour"),
    "30d": Span("30 days", timedelta(days=30), StatsStep.DAY, "by day"),
}
COLUMNS: Final = (
    Column("kind", "Kind", "link"),
    Column("queued", "Queued", "number"),
    Column("oldest", "Oldest waits", "number"),
    Column("running", "In work", "number", optional=True),
    Column("completed", "Completed", "number"),
    Column("failed", "Failed", "number"),
    Column("success", "Success", "number"),
    Column("p50", "p50", "number", optional=True),
    Column("p95", "p95", "number"),
    Column("p99", "p99", "number", optional=True),
    Column("items", "Items/s", "number", optional=True),
    Column("stored", "Stored", "number"),
)


class SpanView(ABC):
    """A page of statistics over a span and a kind that the visitor chooses, read again while the page is open."""

    title: ClassVar[str]
    has_series: ClassVar[bool] = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._span = page.query.get("span", "24h") if page.query.get("span") in SPANS else "24h"
        self._kind = page.query.get("kind", "")
        self._reading: Reading[GetJobStatsResponse]

    def open(self) -> None:
        """Draw the choices and the figures."""
        with ui.element("div").classes("row-of page-head"):
            show_heading(self.title, 1)
            self._summary = ui.label("").classes("quiet grow")
            self._summary.props["role"] = "status"
        with ui.element("div").classes("filters"):
            show_select("Span", {name: span.label for name, span in SPANS.items()}, self._span, self._set_span)
            show_input("Kind", self._kind, self._set_kind, placeholder="all", size=20)
            show_owner(self._page, lambda owner: self._change(owner=owner))
        self._reading = Reading(self._page, self._draw, seconds=READ_SECONDS)
        self._ask()

    def _ask(self) -> None:
        span, kinds, client = SPANS[self._span], self._kinds(), self._page.client
        step = span.step if self.has_series else None
        self._reading.ask(
            (self.title, self._span, self._kind),
            lambda owner: client.statistics.get_job_stats(kinds=kinds, time_range=span.range, step=step, owner=owner),
        )

    def _kinds(self) -> list[str]:
        return [self._kind] if self._kind else []

    def _set_span(self, span: str) -> None:
        self._span = span
        self._change()

    def _set_kind(self, kind: str) -> None:
        self._kind = kind.strip()
        self._change()

    def _change(self, **changes: str) -> None:
        """Read the figures that the fields select; `changes` are of the address alone."""
        self._page.show_address(**{"owner": self._page.owner, **changes}, span=self._span, kind=self._kind)
        self._summary.set_text("")
        self._ask()

    @abstractmethod
    def _draw(self, stats: GetJobStatsResponse) -> None:
        """Show the figures."""


class StatisticsView(SpanView):
    """The page of statistics, as one visitor sees it."""

    title = "Statistics"
    has_series = True

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._drawn: _Drawn | None = None

    def _draw(self, stats: GetJobStatsResponse) -> None:
        if self._drawn is None:
            self._drawn = _Drawn()
        self._drawn.update(self._page, stats, SPANS[self._span])


class _Drawn:
    """The parts of the page that change."""

    def __init__(self) -> None:
        self._figures = ui.element("div").classes("figures")
        with ui.element("div").classes("cards charts"):
            self._ended = _chart("Jobs ended", _ended_options(), "How many jobs ended, and how, over the span")
            self._success = _chart(
                "Percent of ended jobs that completed", _success_options(), "The success of ended jobs over the span"
            )
            self._times = _chart(
                "Seconds from start to end", _times_options(), "The median and the 95th percentile over the span"
            )
            self._ages = _chart("Seconds that the oldest job waits", _ages_options(), "The age of the queue by kind")
        self._table = DataTable(COLUMNS, caption="Statistics by kind")
        self._empty = ui.element("div")
        with self._empty:
            show_empty("Nothing happened", "No job exists, and none was created or ended in this span.")
        self._more = ui.label("").classes("quiet")

    def update(self, page: Page, stats: GetJobStatsResponse, span: Span) -> None:
        """Show other figures."""
        self._figures.clear()
        with self._figures:
            _show_figures(stats.total)
        labels = [_label(point, span) for point in stats.series]
        _set_series(self._ended, labels, {name: _counts(stats.series, field) for name, field in _OUTCOMES})
        _set_series(self._success, labels, {"success": _success(stats.series)})
        _set_series(self._times, labels, {name: _percentiles(stats.series, name) for name in ("p50", "p95")})
        ages = {
            kind_stats.kind: seconds(kind_stats.stats.now.oldest_queued_age)
            for kind_stats in stats.kinds
            if kind_stats.stats.now.queued
        }
        oldest = sorted(ages, key=ages.__getitem__)[-_MAX_AGES:]
        _set_series(self._ages, oldest, {"waits": [round(ages[kind], 1) for kind in oldest]}, "yAxis")
        self._table.set_rows([_row(page, kind_stats.kind, kind_stats.stats) for kind_stats in stats.kinds])
        self._table.set_visibility(bool(stats.kinds))
        self._empty.set_visibility(not stats.kinds)
        more = stats.omitted_kind_count
        self._more.set_text(f"and at least {plural(more, 'more kind')}; name one to see it" if more else "")


def _show_figures(total: JobStats) -> None:
    now, activity = total.now, total.activity
    success = percent(activity.success_rate * 100) if activity.HasField("success_rate") else NONE
    figures = {
        "Queued now": f"{now.queued:,}",
        "Oldest waits": duration(seconds(now.oldest_queued_age)) if now.HasField("oldest_queued_age") else NONE,
        "In work now": f"{now.running + now.cancelling:,}",
        "Completed": f"{activity.completed:,}",
        "Failed": f"{activity.failed:,}",
        "Success": success,
        "Took, p50 · p95": " · ".join(time(activity.processing, name) for name in ("p50", "p95")),
        "Waited, p95": time(activity.waiting, "p95"),
        "Items/s": rate(activity.items_per_second),
        "Attempts failed": f"{activity.failed_attempts:,}",
        "Artifacts now": size(now.artifact_bytes),
    }
    for name, value in figures.items():
        with ui.element("div").classes("figure"):
            ui.label(name).classes("quiet")
            ui.label(value).classes("value")


def time(durations: DurationStats, name: str) -> str:
    """Return a percentile; a dash when nothing was measured."""
    return duration(getattr(durations, f"{name}_seconds")) if durations.count else NONE


def _row(page: Page, kind: str, stats: JobStats) -> Row:
    now, activity = stats.now, stats.activity
    age = duration(seconds(now.oldest_queued_age)) if now.HasField("oldest_queued_age") else None
    return {
        "key": kind,
        "kind": link_cell(kind, page.address("/", kind=kind, owner=page.owner)),
        "queued": f"{now.queued:,}",
        "oldest": age,
        "running": f"{now.running + now.cancelling:,}",
        "completed": f"{activity.completed:,}",
        "failed": f"{activity.failed:,}",
        "success": percent(activity.success_rate * 100) if activity.HasField("success_rate") else None,
        **{name: time(activity.processing, name) for name in ("p50", "p95", "p99")},
        "items": rate(activity.items_per_second),
        "stored": size(now.artifact_bytes),
    }


def _label(point: StatsPoint, span: Span) -> str:
    start = point.start_time.ToDatetime(tzinfo=UTC)
    if span.step == StatsStep.DAY:
        return f"{start:%d %b}"
    start = start.astimezone()
    return f"{start:%H:%M}" if span.length <= timedelta(days=1) else f"{start:%a %H:%M}"


def _counts(series: Sequence[StatsPoint], field: str) -> list[int | None]:
    return [getattr(point.activity, field) or None for point in series]


def _success(series: Sequence[StatsPoint]) -> list[float | None]:
    """Return the percentages; None where no job ended with success or failure."""
    rates = [point.activity.success_rate if point.activity.HasField("success_rate") else None for point in series]
    return [None if rate is None else round(100 * rate, 1) for rate in rates]


def _percentiles(series: Sequence[StatsPoint], name: str) -> list[float | None]:
    measured = [point.activity.processing for point in series]
    return [round(getattr(durations, f"{name}_seconds"), 3) if durations.count else None for durations in measured]


def _chart(title: str, options: dict[str, Any], label: str) -> ui.echart:
    with ui.element("section").classes("card"):
        show_heading(title)
        return show_chart(options, height=_CHART_HEIGHT, label=label)


def _options(series: list[dict[str, Any]], min_interval: int) -> dict[str, Any]:
    return {
        "grid": {"left": 8, "right": 24, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 16, "textStyle": {":color": theme_colour("text")}},
        "xAxis": axis(type="category", data=[], axisTick={"show": False}),
        "yAxis": axis(type="value", minInterval=min_interval, min=0),
        "title": {
            "text": "no job ended",
            "left": "center",
            "top": "middle",
            "textStyle": {":color": theme_colour("quiet"), "fontSize": 13, "fontWeight": "normal"},
        },
        "series": series,
    }


def _ended_options() -> dict[str, Any]:
    pattern = {"failed": "rect", "cancelled": "triangle"}
    bars = [
        {
            "name": name,
            "type": "bar",
            "stack": "ended",
            "barMaxWidth": 28,
            "data": [],
            "itemStyle": {":color": theme_colour(name), "decal": {"symbol": pattern.get(name, "none")}},
        }
        for name, _ in _OUTCOMES
    ]
    return _options(bars, 1)


def _success_options() -> dict[str, Any]:
    options = _options([_line("success", "completed", "solid", "circle")], 0)
    options["yAxis"]["max"] = 100
    options["title"]["text"] = "no job completed or failed"
    return options | {"legend": {"show": False}, "grid": options["grid"] | {"top": 12}}


def _times_options() -> dict[str, Any]:
    return _options([_line("p50", "running", "solid", "circle"), _line("p95", "failed", "dashed", "rect")], 0)


def _line(name: str, colour: str, kind: str, symbol: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "connectNulls": False,
        "symbol": symbol,
        "symbolSize": 6,
        "data": [],
        "lineStyle": {":color": theme_colour(colour), "type": kind},
        "itemStyle": {":color": theme_colour(colour)},
    }


def _ages_options() -> dict[str, Any]:
    colour = {":color": theme_colour("queued")}
    options = _options([{"name": "waits", "type": "bar", "barMaxWidth": 18, "data": [], "itemStyle": colour}], 0)
    options["xAxis"], options["yAxis"] = options["yAxis"], options["xAxis"]
    options["title"]["text"] = "no job waits"
    return options | {"legend": {"show": False}, "grid": options["grid"] | {"top": 8}}


def _set_series(chart: ui.echart, labels: list[str], values: dict[str, list[Any]], axis_name: str = "xAxis") -> None:
    """Show other values, one for each label of the axis of categories."""
    options: Any = chart.options
    if options[axis_name]["data"] == labels and all(
        series["data"] == values[series["name"]] for series in options["series"]
    ):
        return
    options[axis_name]["data"] = labels
    options["title"]["show"] = all(value is None for column in values.values() for value in column)
    for series in options["series"]:
        series["data"] = values[series["name"]]
    chart.update()


async def build(page: Page) -> None:
    """Draw the page."""
    StatisticsView(page).open()


KINDS: Final = (PageKind("/statistics", "Statistics", build, label="Statistics"),)
