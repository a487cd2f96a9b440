"""The progress of a job: a live picture on a terminal, a line for each change elsewhere."""

from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Self

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from jobledger_client._generated._enums import JobState
from jobledger_client.cli import _format as formatting
from jobledger_client.cli._connection import Notice
from jobledger_client.cli._live._chunk_map import chunk_map
from jobledger_client.cli._live._rates import sparkline
from jobledger_client.cli._live._watched_job import WatchedJob

_MIN_MAP_ROWS = 3
_MAP_PART = 4
"""The map has at most one line in so many of the terminal's."""
_FIXED_LINES = 11
"""Lines beside the map, the chunks in work and the codes: the job, the rate, headings, the legend, notices."""
_MAX_CODES = 3
_MAX_CHUNKS = 40
_BAR_WIDTH = 24
_TICKS_PER_SECOND = 4


class Bars:
    """A context manager that shows a job while its view applies messages.

    On a terminal it is redrawn four times a second, so that a notice is up to date.
    """

    def __init__(self, console: Console, view: WatchedJob, notice: Callable[[], Notice | None]) -> None:
        self._console = console
        self._view = view
        self._notice = notice
        live = Live(
            console=console,
            refresh_per_second=_TICKS_PER_SECOND,
            transient=False,
            get_renderable=self._render,
            vertical_overflow="crop",
        )
        self._live = live if console.is_terminal else None

    def _render(self) -> RenderableType:
        notice = self._notice()
        lines = [formatting.one_line(notice.sentence, "bold yellow")] if notice else []
        if not self._view.job.job_id:
            return Group(*lines)
        is_old = notice is not None and notice.is_disconnected
        at = self._view.applied_at if is_old else monotonic()
        picture = render(self._view, at, width=self._console.width, rows=self._console.height)
        return Group(*lines, Styled(picture, "dim") if is_old else picture)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, message: WatchJobResponse) -> None:
        """Show a message that the view has applied."""
        if self._live is None:
            self._console.print(formatting.literal(one_line(message)), soft_wrap=True)


def one_line(message: WatchJobResponse) -> str:
    """Return the state after a message, in one line."""
    job = message.job
    parts = [
        formatting.local_time(job.update_time),
        JobState(job.state).name,
        formatting.percent(job.progress.percent),
    ]
    parts += [formatting.counts(job), formatting.items(job), job.progress.stage, job.progress.message]
    return "  ".join(filter(None, parts))


def render(view: WatchedJob, at: float, *, width: int, rows: int) -> RenderableType:
    """Return the picture of a job at a time, for `rows` lines: bar, rate, chunk map, chunks in work, failures."""
    with view.lock:
        codes = _codes(view)
        map_rows = max(rows // _MAP_PART, _MIN_MAP_ROWS)
        has_map = len(view.chunks.marks) > 1
        head = _head(view.job, width, has_map=has_map)
        parts = [*head, *_rate(view, at, width), *_map(view, width, map_rows)]
        used = _FIXED_LINES + len(codes) + (map_rows if has_map else 0)
        return Group(*parts, *_in_work(view, max(rows - used, 2)), *codes)


def _head(job: Job, width: int, *, has_map: bool) -> Iterator[RenderableType]:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    percent = Text(formatting.percent(job.progress.percent), "bold")
    line.add_row(
        formatting.one_line(job.display_name or job.job_id, "bold"), formatting.coloured(JobState(job.state)), percent
    )
    yield line
    bar = Table.grid()
    bar.add_row(_bar(job.progress.percent, width))
    yield bar
    yield formatting.one_line(_summary(job, has_map=has_map), "dim")


def _bar(percent: float, width: int) -> ProgressBar:
    return ProgressBar(completed=percent, width=width, complete_style="bright_blue", finished_style="green")


def _rate(view: WatchedJob, at: float, width: int) -> Iterator[RenderableType]:
    values = view.rates.values(at) if view.rates else []
    if len(values) > 1 and any(values):
        yield sparkline(values, "items" if view.job.progress.items_total else "chunks", width=width)


def _map(view: WatchedJob, width: int, rows: int) -> Iterator[RenderableType]:
    chunks = view.chunks
    if len(chunks.marks) > 1:
        drawn = chunk_map(chunks.marks, width=width, rows=rows)
        yield Text()
        yield Styled(drawn, "dim") if chunks.needs_load else drawn
    if chunks.needs_load:
        yield Text(f"reading {view.job.chunks_summary.total:,} chunks …", style="yellow")


def _in_work(view: WatchedJob, rows: int) -> Iterator[RenderableType]:
    chunks = [chunk for _, chunk in sorted(view.chunks.in_work.items())]
    if not chunks:
        return
    workers = len({chunk.worker for chunk in chunks})
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column(no_wrap=True)
    table.add_column(width=_BAR_WIDTH)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    fitting = chunks if len(chunks) <= rows else chunks[: rows - 1]
    for chunk in fitting[:_MAX_CHUNKS]:
        table.add_row(*_chunk(chunk))
    yield Text()
    yield Text(f"{workers:,} worker{'' if workers == 1 else 's'}", style="bold")
    yield table
    if more := len(chunks) - len(fitting[:_MAX_CHUNKS]):
        yield Text(f"and {more:,} more chunk{'' if more == 1 else 's'} in work", style="dim")


def _chunk(chunk: Chunk) -> Iterator[RenderableType]:
    progress = chunk.progress
    yield formatting.one_line(chunk.worker)
    yield Text(f"chunk {chunk.index}" + (f", attempt {chunk.attempt}" if chunk.attempt > 1 else ""))
    yield _bar(progress.percent, _BAR_WIDTH)
    yield Text(formatting.percent(progress.percent))
    yield formatting.one_line(" ".join(filter(None, [progress.stage, progress.message])), "dim")


def _codes(view: WatchedJob) -> list[Text]:
    """Return a line for each of the most frequent errors of chunks that are not completed."""
    groups = Counter(view.chunks.errors.values()).most_common()
    if not groups:
        return []
    lines = [Text(), Text("last attempt failed", style="bold")]
    for (code, stage), number in groups[:_MAX_CODES]:
        where = f"  in {stage}" if stage else ""
        lines.append(formatting.one_line(f"{number:>5,}  {code}{where}", "red"))
    if (more := len(groups) - _MAX_CODES) > 0:
        lines.append(Text(f"and {more:,} more codes", style="dim"))
    return lines


def _summary(job: Job, *, has_map: bool) -> str:
    """Return counts, rate and estimated end; the counts of the chunks by state are below their map, if there is one."""
    progress, total = job.progress, f"{job.chunks_summary.total:,} chunks"
    rate = f"{progress.items_per_second:,.1f} items/s" if progress.HasField("items_per_second") else ""
    eta = f"done {formatting.eta(progress.eta)}" if progress.HasField("eta") else ""
    return " · ".join(
        filter(
            None,
            [
                total if has_map else formatting.counts(job),
                formatting.items(job),
                rate,
                eta,
                progress.stage,
                progress.message,
            ],
        )
    )
