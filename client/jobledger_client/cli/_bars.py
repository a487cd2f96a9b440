"""A job as it goes on, for people: live bars on a terminal, a line for each change elsewhere."""

from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Self

from jobledger.v1.chunk_pb2 import Chunk, ChunkState
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobledger_client.cli import _words as words
from jobledger_client.cli._liveness import Notice
from jobledger_client.cli._waiting import Waiting

_MOST_BARS = 12
_IN_WORK = ChunkState.CHUNK_STATE_PROCESSING


class JobView:
    """What a watch has told about a job: the job, and those of its chunks that are in work. Read from any thread."""

    def __init__(self) -> None:
        self.job = Job()
        self.waiting = Waiting()
        self._in_work: dict[int, Chunk] = {}
        self._lock = Lock()

    def take(self, message: WatchJobResponse) -> None:
        """Follow one message."""
        with self._lock:
            self.job = message.job
            self.waiting.see(message.job)
            self._take_chunks(message)

    def _take_chunks(self, message: WatchJobResponse) -> None:
        if message.chunks_omitted:
            self._in_work.clear()
        for run in message.chunk_ranges:
            for index in range(run.first_index, run.last_index + 1):
                self._in_work.pop(index, None)
        for chunk in [*message.job.chunks, *message.chunks]:
            if chunk.state == _IN_WORK:
                self._in_work[chunk.index] = chunk
            else:
                self._in_work.pop(chunk.index, None)

    def chunks_in_work(self) -> list[Chunk]:
        """Return the chunks in work by index, as many as there is room for."""
        with self._lock:
            return [chunk for _, chunk in sorted(self._in_work.items())][:_MOST_BARS]


class Bars:
    """A context manager that shows a job while its view takes messages.

    On a terminal it is drawn anew all the time, so that a notice on what keeps messages away is shown as it is now.
    """

    def __init__(self, console: Console, view: JobView, notice: Callable[[], Notice | None]) -> None:
        self._console = console
        self._view = view
        self._notice = notice
        live = Live(console=console, refresh_per_second=8, transient=False, get_renderable=self._picture)
        self._live = live if console.is_terminal else None

    def _picture(self) -> RenderableType:
        notice = self._notice()
        said = [words.one_line(notice.sentence, "bold yellow")] if notice else []
        return Group(*([render(self._view)] if self._view.job.job_id else []), *said)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, message: WatchJobResponse) -> None:
        """Show a message that the view has taken."""
        if self._live is None:
            self._console.print(words.literal(one_line(message)), soft_wrap=True)


def one_line(message: WatchJobResponse) -> str:
    """Return the state after a message, in one line."""
    job = message.job
    parts = [words.local_time(job.update_time), words.job_state(job.state), words.percent(job.progress.percent)]
    parts += [words.counts(job), words.items(job), job.progress.stage, job.progress.message]
    return "  ".join(filter(None, parts))


def render(view: JobView) -> RenderableType:
    """Return the job's bar, what is said of it, and the bars of its chunks in work."""
    job = view.job
    bars = Table.grid(padding=(0, 1))
    bars.add_column()
    bars.add_column(width=32)
    bars.add_column(justify="right", no_wrap=True)
    bars.add_column()
    state = words.coloured(words.job_state(job.state))
    bars.add_row(
        words.one_line(job.display_name or job.job_id, "bold"), _bar(job.progress.percent), _percent(job), state
    )
    for chunk in view.chunks_in_work():
        said = " ".join(filter(None, [chunk.worker, chunk.progress.stage, chunk.progress.message]))
        share = Text(words.percent(chunk.progress.percent))
        bars.add_row(Text(f"  chunk {chunk.index}"), _bar(chunk.progress.percent), share, words.one_line(said, "dim"))
    return Group(bars, _dim(_said_of(job)))


def _dim(text: str) -> Text:
    return Text.assemble((words.literal(text).plain, "dim"))


def _bar(percent: float) -> ProgressBar:
    return ProgressBar(total=100, completed=percent, width=32)


def _percent(job: Job) -> Text:
    return Text(words.percent(job.progress.percent))


def _said_of(job: Job) -> str:
    progress = job.progress
    rate = f"{progress.items_per_second:,.1f} items/s" if progress.HasField("items_per_second") else ""
    eta = f"done {words.eta(progress.eta)}" if progress.HasField("eta") else ""
    return " · ".join(filter(None, [words.counts(job), words.items(job), rate, eta, progress.stage, progress.message]))
