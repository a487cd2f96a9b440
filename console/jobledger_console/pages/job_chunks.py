"""The live charts of a job: the map of chunks, the timeline of attempts, the rate, and one chunk opened."""

import time
from typing import Final

from jobledger.v1.chunk_pb2 import Attempt, Chunk
from jobledger_client import AttemptOutcome, ChunkState, HoldReason
from nicegui import ui

from jobledger_console.components.charts import axis, show_chart, theme_colour
from jobledger_console.components.chunk_map import ChunkMap
from jobledger_console.components.dialogs import Dialog
from jobledger_console.components.messages import show_button, show_heading
from jobledger_console.components.states import show_state, words
from jobledger_console.components.timeline import TimelineChart
from jobledger_console.elements import element
from jobledger_console.jobs.model import JobModel
from jobledger_console.jobs.timelines import rate, timeline
from jobledger_console.page import Page
from jobledger_console.pages.job_summary import show_artifacts
from jobledger_console.wording import clock, duration, plural

_MAX_CLAIMABLE: Final = 100
_LEGEND: Final = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
_OUTCOMES: Final = ("PROCESSING", "COMPLETED", "FAILED", "EXPIRED", "TIMED_OUT", "RELEASED", "CANCELLED")


class ChunkCharts:
    """The charts of one job."""

    def __init__(self, page: Page, model: JobModel, job_id: str, owner: str) -> None:
        self._page = page
        self._model = model
        self._job_id = job_id
        self._owner = owner
        with ui.element("section").classes("card"):
            show_heading("Chunks")
            _show_legend(_LEGEND)
            self._map = ChunkMap(self.open)
            show_button("Claimable now …", lambda: page.spawn(self._open_claimable()), classes="small")
        with ui.element("section").classes("card"):
            show_heading("Attempts by worker")
            _show_legend(_OUTCOMES)
            self._timeline = TimelineChart(self.open)
            self._timeline_note = ui.label("").classes("quiet")
        with ui.element("section").classes("card"):
            show_heading("Rate")
            self._rate_note = ui.label("").classes("quiet")
            self._rate = show_chart(_rate_options(), height=180, label="Items completed a second over time")

    def draw_map(self) -> None:
        """Show the states as they are now."""
        self._map.set_states(bytes(self._model.states))

    def draw_charts(self) -> None:
        """Show attempts and rate as they are now."""
        shown = timeline(self._model.tries.values())
        self._timeline.set_timeline(shown)
        self._timeline.set_visibility(bool(shown.bars))
        cut = " or more" if self._model.attempts_are_cut else ""
        hidden = f"The latest attempts; {shown.hidden:,}{cut} earlier ones are not shown." if shown.hidden else ""
        self._timeline_note.set_text(hidden if shown.bars else "No worker has claimed a chunk yet.")
        self._draw_rate()

    def _draw_rate(self) -> None:
        job = self._model.job
        is_over = job is None or job.HasField("end_time")
        starts, rates, width = rate(self._model.chunks.values(), 0.0 if is_over else time.time())
        self._rate.set_visibility(len(starts) > 1)
        note = f"Items completed a second, in spans of {duration(width)}." if starts else "No chunk is completed yet."
        self._rate_note.set_text(note)
        points = [[round(start * 1_000), round(value, 3)] for start, value in zip(starts, rates, strict=True)]
        if self._rate.options["series"][0]["data"] != points:
            self._rate.options["series"][0]["data"] = points
            self._rate.update()

    def open(self, index: int) -> None:
        """Show one chunk, with its attempts."""
        self._page.spawn(self._open(index))

    async def _open(self, index: int) -> None:
        chunk = self._model.chunks.get(index)
        dialog = Dialog(f"Chunk {index}")
        dialog.set_buttons()
        pages = self._page.client.list_attempts(
            self._job_id, chunk_index=index, page_size=100, uid=self._uid(), owner=self._owner
        )
        attempts = (await pages.page()).attempts
        with dialog.body:
            if chunk is not None:
                _show_chunk(chunk)
            _show_attempts(list(attempts))

    async def _open_claimable(self) -> None:
        """Show the chunks that a worker may claim now, in the order in which claims get them."""
        dialog = Dialog("Claimable chunks")
        dialog.set_buttons()
        pages = self._page.client.list_chunks(
            self._job_id, claimable=True, page_size=_MAX_CLAIMABLE, uid=self._uid(), owner=self._owner
        )
        page = await pages.page()
        with dialog.body:
            if not page.chunks:
                element("p", "No chunk may be claimed now.", classes="count")
                return
            more = "or more, " if page.next_page_token else ""
            element("p", f"{plural(len(page.chunks), 'chunk')}, {more}the next one first:", classes="count")
            with ui.element("ul").classes("sample"):
                for chunk in page.chunks:
                    element("li", f"chunk {chunk.index:,}, attempt {chunk.attempt + 1} of {chunk.max_attempts}")

    def _uid(self) -> str:
        return self._model.job.uid if self._model.job is not None else ""


def _show_legend(names: tuple[str, ...]) -> None:
    with ui.element("div").classes("legend"):
        for name in names:
            with ui.element("span"):
                ui.element("i").classes(f"swatch swatch-{name}")
                ui.label(words(name)).classes("inline")


def _rate_options() -> dict[str, object]:
    colour = theme_colour("running")
    return {
        "grid": {"left": 50, "right": 12, "top": 12, "bottom": 26},
        "xAxis": axis(type="time"),
        "yAxis": axis(type="value", min=0),
        "series": [
            {
                "type": "line",
                "name": "items/s",
                "step": "end",
                "symbol": "none",
                "data": [],
                "lineStyle": {":color": colour, "width": 1.5},
                "itemStyle": {":color": colour},
                "areaStyle": {":color": colour, "opacity": 0.18},
            }
        ],
    }


def _show_chunk(chunk: Chunk) -> None:
    with ui.element("p"):
        show_state(ChunkState(chunk.state).name)
        parts = [f"{chunk.progress.percent:.0f} %", f"attempt {chunk.attempt} of {chunk.max_attempts}"]
        if chunk.HasField("last_item"):
            parts.append(f"items {chunk.first_item:,} to {chunk.last_item:,}")
        if chunk.finalizer:
            parts.append("the finalizer")
        if chunk.holds:
            parts.append("waits for: " + ", ".join(words(HoldReason(reason).name) for reason in chunk.holds))
        ui.label("  " + " · ".join(parts)).classes("inline quiet")
    if chunk.progress.message:
        element(
            "p", f"{chunk.progress.stage}: {chunk.progress.message}" if chunk.progress.stage else chunk.progress.message
        )
    if chunk.HasField("error"):
        element("p", f"{chunk.error.code}: {chunk.error.message}", classes="pre")
    if chunk.artifacts:
        show_artifacts(sorted(chunk.artifacts.items()))


def _show_attempts(attempts: list[Attempt]) -> None:
    show_heading(plural(len(attempts), "attempt"), 3)
    with ui.element("ul").classes("sample"):
        for attempt in attempts:
            with ui.element("li"):
                show_state(AttemptOutcome(attempt.outcome).name if attempt.outcome else "PROCESSING")
                end = f" to {clock(attempt.end_time)}" if attempt.HasField("end_time") else ""
                task = f", task {attempt.task_id}" if attempt.task_id else ""
                ui.label(f" {attempt.number}. {attempt.worker}{task}, {clock(attempt.start_time)}{end}").classes(
                    "inline"
                )
                if attempt.HasField("error"):
                    element("p", f"{attempt.error.code}: {attempt.error.message}", classes="quiet pre")
