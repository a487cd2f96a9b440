"""The progress of a job: live bars on a terminal, a line for each change elsewhere."""

from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Self

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobledger_client._enums import ChunkState, JobState
from jobledger_client.cli import _format as formatting
from jobledger_client.cli._connection import Notice
from jobledger_client.cli._queue_wait import QueueWait

_MAX_BARS = 12
_IN_WORK = ChunkState.PROCESSING


class WatchedJob:
    """The state of a watched job: the job, and its chunks in PROCESSING. Any thread may read it."""

    def __init__(self) -> None:
        self.job = Job()
        self.queue_wait = QueueWait()
        self._in_work: dict[int, Chunk] = {}
        self._lock = Lock()

    def apply(self, message: WatchJobResponse) -> None:
        """Apply one message."""
        with self._lock:
            self.job = message.job
            self.queue_wait.update(message.job)
            self._apply_chunks(message)

    def _apply_chunks(self, message: WatchJobResponse) -> None:
        if message.chunks_omitted:
            self._in_work.clear()
        for chunk_range in message.chunk_ranges:
            for index in range(chunk_range.first_index, chunk_range.last_index + 1):
                self._in_work.pop(index, None)
        for chunk in [*message.job.chunks, *message.chunks]:
            if chunk.state == _IN_WORK:
                self._in_work[chunk.index] = chunk
            else:
                self._in_work.pop(chunk.index, None)

    def chunks_in_work(self) -> list[Chunk]:
        """Return the chunks in PROCESSING by index, as many as are shown."""
        with self._lock:
            return [chunk for _, chunk in sorted(self._in_work.items())][:_MAX_BARS]


class Bars:
    """A context manager that shows a job while its view applies messages.

    On a terminal it is redrawn eight times a second, so that a notice is up to date.
    """

    def __init__(self, console: Console, view: WatchedJob, notice: Callable[[], Notice | None]) -> None:
        self._console = console
        self._view = view
        self._notice = notice
        live = Live(console=console, refresh_per_second=8, transient=False, get_renderable=self._render)
        self._live = live if console.is_terminal else None

    def _render(self) -> RenderableType:
        notice = self._notice()
        lines = [formatting.one_line(notice.sentence, "bold yellow")] if notice else []
        return Group(*([render(self._view)] if self._view.job.job_id else []), *lines)

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


def render(view: WatchedJob) -> RenderableType:
    """Return the job's bar, the bars of its chunks in PROCESSING, and a summary line."""
    job = view.job
    bars = Table.grid(padding=(0, 1))
    bars.add_column()
    bars.add_column(width=32)
    bars.add_column(justify="right", no_wrap=True)
    bars.add_column()
    state = formatting.coloured(JobState(job.state))
    bars.add_row(
        formatting.one_line(job.display_name or job.job_id, "bold"), _bar(job.progress.percent), _percent(job), state
    )
    for chunk in view.chunks_in_work():
        details = " ".join(filter(None, [chunk.worker, chunk.progress.stage, chunk.progress.message]))
        percent = Text(formatting.percent(chunk.progress.percent))
        bars.add_row(
            Text(f"  chunk {chunk.index}"), _bar(chunk.progress.percent), percent, formatting.one_line(details, "dim")
        )
    return Group(bars, _dim(_summary(job)))


def _dim(text: str) -> Text:
    return Text.assemble((formatting.literal(text).plain, "dim"))


def _bar(percent: float) -> ProgressBar:
    return ProgressBar(total=100, completed=percent, width=32)


def _percent(job: Job) -> Text:
    return Text(formatting.percent(job.progress.percent))


def _summary(job: Job) -> str:
    progress = job.progress
    rate = f"{progress.items_per_second:,.1f} items/s" if progress.HasField("items_per_second") else ""
    eta = f"done {formatting.eta(progress.eta)}" if progress.HasField("eta") else ""
    return " · ".join(
        filter(None, [formatting.counts(job), formatting.items(job), rate, eta, progress.stage, progress.message])
    )
