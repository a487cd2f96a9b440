"""What a stream of changes tells of all jobs at once: queues by kind, jobs in work, rates, workers."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMessageType
from jobledger.v1.stats_pb2 import GetJobStatsResponse
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobledger_client.cli import _words as words
from jobledger_client.cli._figures import WIDE, numbers

_WINDOW = 10.0
"""Seconds over which rates are measured."""
_SEEN = 60.0
"""Seconds for which a worker is shown after it was last heard of."""
_MOST_NAMES = 8
_MOST_ENTRIES = 100_000
_IN_WORK = (JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_CANCELLING)
_SHOWN = (JobState.JOB_STATE_QUEUED, *_IN_WORK)
_GONE = (WatchMessageType.WATCH_MESSAGE_TYPE_DELETED, WatchMessageType.WATCH_MESSAGE_TYPE_LEFT)
_COMPLETED = ChangeType.CHANGE_TYPE_CHUNK_COMPLETED
_BY_WORKERS = (ChangeType.CHANGE_TYPE_CLAIMED, ChangeType.CHANGE_TYPE_PROGRESSED, _COMPLETED)


@dataclass(frozen=True, slots=True)
class _Done:
    """Chunks of a kind that were completed, at a time by this machine's clock."""

    at: float
    kind: str
    chunks: int
    items: int


class Board:
    """What is known; times are seconds of a monotonic clock."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._queues: dict[str, Counter[JobState.ValueType]] = {}
        self._jobs: dict[str, Job] = {}
        self._done: deque[_Done] = deque(maxlen=_MOST_ENTRIES)
        self._workers: dict[str, float] = {}

    def begin(self, jobs: Iterable[Job]) -> None:
        """Take the jobs that are in work when the stream begins."""
        self._jobs = {job.job_id: job for job in jobs}

    def count(self, stats: GetJobStatsResponse) -> None:
        """Take how many jobs there are of each kind; the stream goes on from there."""
        self._queues = {}
        for one in stats.kinds:
            now = one.stats.now
            self._queues[one.kind] = Counter(dict(zip(_SHOWN, (now.queued, now.running, now.cancelling), strict=True)))

    def take(self, message: WatchJobsResponse, at: float) -> None:
        """Follow one message."""
        job = message.job
        if message.type in _GONE or job.state not in _IN_WORK:
            self._jobs.pop(job.job_id, None)
        else:
            self._jobs[job.job_id] = job
        queue = self._queues.setdefault(job.kind, Counter())
        for change in message.event.changes:
            if change.from_state != change.to_state:
                queue[change.from_state] -= 1
                queue[change.to_state] += 1
            if change.type in _BY_WORKERS:
                self._workers[change.actor] = at
        self._note_done(message, at)

    def _note_done(self, message: WatchJobsResponse, at: float) -> None:
        completed = [change.chunk_index for change in message.event.changes if change.type == _COMPLETED]
        if completed:
            sized = [chunk for chunk in message.chunks if chunk.HasField("last_item")]
            items = {chunk.index: chunk.last_item - chunk.first_item + 1 for chunk in sized}
            total = sum(items.get(index, 0) for index in completed)
            self._done.append(_Done(at, message.job.kind, len(completed), total))

    def forget(self, at: float) -> None:
        """Forget what is too long ago to be shown."""
        while self._done and self._done[0].at < at - _WINDOW:
            self._done.popleft()
        self._workers = {name: seen for name, seen in self._workers.items() if seen >= at - _SEEN}

    def render(self, at: float, *, width: int, rows: int | None = None) -> RenderableType:
        """Return the picture at a time, of at most `rows` lines; None for as many as it takes."""
        self.forget(at)
        kinds = self._kinds(at, None if rows is None else max(rows // 3, 3))
        most = None if rows is None else max(rows - kinds.row_count - 6, 1)
        return Group(self._summary(at), Text(), kinds, Text(), self._in_work(most, wide=width >= WIDE))

    def _rates(self, at: float) -> dict[str, tuple[float, float]]:
        """Return chunks and items a second by kind."""
        seconds = max(min(at - self._began, _WINDOW), 1.0)
        sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for done in self._done:
            chunks, items = sums[done.kind]
            sums[done.kind] = (chunks + done.chunks / seconds, items + done.items / seconds)
        return sums

    def _summary(self, at: float) -> Text:
        rates = self._rates(at).values()
        queued = sum(queue[JobState.JOB_STATE_QUEUED] for queue in self._queues.values())
        said = [
            f"{sum(queue[state] for queue in self._queues.values() for state in _IN_WORK):,} running",
            f"{queued:,} queued",
            f"{words.rate(sum(chunks for chunks, _ in rates))} chunks/s",
            f"{words.rate(sum(items for _, items in rates))} items/s",
            self._heard_of(),
        ]
        return words.literal(" · ".join(said))

    def _heard_of(self) -> str:
        names = sorted(self._workers)
        count = "1 worker" if len(names) == 1 else f"{len(names):,} workers"
        if not names:
            return count
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        return f"{count}: {', '.join(names[:_MOST_NAMES])}{more}"

    def _kinds(self, at: float, most: int | None) -> Table:
        table = numbers("KIND", "QUEUED", "RUNNING", "CANCELLING", "CHUNKS/S", "ITEMS/S")
        rates = self._rates(at)
        busy = [kind for kind in self._queues if rates[kind][0] or any(self._queues[kind][s] > 0 for s in _SHOWN)]
        busy.sort(key=lambda kind: (-sum(self._queues[kind][state] for state in _SHOWN), kind))
        for kind in busy[:most]:
            counts = [f"{max(self._queues[kind][state], 0):,}" for state in _SHOWN]
            table.add_row(words.literal(kind), *counts, *map(words.rate, rates[kind]))
        return table

    def _in_work(self, most: int | None, *, wide: bool) -> Table:
        """Return jobs in work, one a line: what is too long for the line is cut, but never an id or a figure."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("JOB", "STATE", "DONE", "ETA", *(("ITEMS/S", "KIND", "STAGE") if wide else ()), "NAME"):
            right = column in ("DONE", "ITEMS/S", "ETA")
            gives_way = column in ("KIND", "STAGE", "NAME")
            table.add_column(column, no_wrap=not gives_way, justify="right" if right else "left")
        order = sorted(self._jobs.values(), key=lambda job: (-job.priority, job.start_time.ToNanoseconds(), job.job_id))
        for job in order[:most]:
            progress = job.progress
            rate = words.rate(progress.items_per_second) if progress.HasField("items_per_second") else ""
            table.add_row(
                words.literal(job.job_id),
                words.coloured(words.job_state(job.state)),
                words.percent(progress.percent),
                words.eta(progress.eta, clock=wide) if progress.HasField("eta") else "",
                *((rate, words.one_line(job.kind), words.one_line(progress.stage)) if wide else ()),
                words.one_line(job.display_name),
            )
        return table
