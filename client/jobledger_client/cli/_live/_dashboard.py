"""The live state of all jobs, from a stream of changes: queues by kind, running jobs, rates, workers, failures."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from time import time

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse
from jobledger.v1.stats_pb2 import FailureGroup, GetJobStatsResponse
from jobledger.v1.worker_service_pb2 import Worker
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobledger_client._generated._enums import ChangeType, JobState, WatchMessageType
from jobledger_client.cli import _format as formatting
from jobledger_client.cli._live._chunk_map import mix
from jobledger_client.cli._live._chunk_states import Shown
from jobledger_client.cli._live._rates import RateHistory, sparkline
from jobledger_client.cli._stats_tables import WIDE, numbers

_WINDOW_SECONDS = 10.0
"""Rates are those of this number of seconds."""
_WORKER_SECONDS = 60.0
"""A worker is shown for this time after its last event."""
_MIX_WIDTH = 20
_MAX_ENTRIES = 100_000
_IN_WORK = (JobState.RUNNING, JobState.CANCELLING)
_SHOWN = (JobState.QUEUED, *_IN_WORK)
_REMOVED = (WatchMessageType.DELETED, WatchMessageType.LEFT)
_COMPLETED = ChangeType.CHUNK_COMPLETED
_RETURNED = (_COMPLETED, ChangeType.CHUNK_FAILED, ChangeType.CHUNK_RELEASED)
_BY_WORKERS = (ChangeType.CLAIMED, ChangeType.PROGRESSED, *_RETURNED)


@dataclass(frozen=True, slots=True)
class _Completed:
    """Chunks of a kind that were completed, at a time of this machine's monotonic clock."""

    at: float
    kind: str
    chunks: int
    items: int


@dataclass(slots=True)
class _Worker:
    """A worker: when it was heard, how many chunks it holds, and how many it completed since the display began."""

    seen_at: float = 0.0
    held: int = 0
    completed: int = 0


class Dashboard:
    """Queues, running jobs, rates and workers; times are seconds of a monotonic clock."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._queues: dict[str, Counter[int]] = {}
        self._held: dict[str, int] = {}
        """How many chunks of each kind were held when they were counted last."""
        self._jobs: dict[str, Job] = {}
        self._completed: deque[_Completed] = deque(maxlen=_MAX_ENTRIES)
        self._history = RateHistory(started_at)
        self._workers: dict[str, _Worker] = {}
        self._failures: list[FailureGroup] = []

    def set_jobs(self, jobs: Iterable[Job]) -> None:
        """Set the running jobs; messages change them from there."""
        self._jobs = {job.job_id: job for job in jobs}

    def set_counts(self, stats: GetJobStatsResponse) -> None:
        """Set the number of jobs of each kind; messages change it from there."""
        self._failures = list(stats.total.failures)
        self._queues = {}
        self._held = {
            kind_stats.kind: sum(held.chunk_count for held in kind_stats.stats.now.chunks_held)
            for kind_stats in stats.kinds
        }
        for kind_stats in stats.kinds:
            now = kind_stats.stats.now
            self._queues[kind_stats.kind] = Counter(
                dict(zip(_SHOWN, (now.queued, now.running, now.cancelling), strict=True))
            )

    def set_workers(self, workers: Iterable[Worker], kinds: Collection[str], at: float) -> None:
        """Set the workers that were heard recently and claim one of `kinds`, or all if `kinds` is empty."""
        since = time() - _WORKER_SECONDS
        for worker in workers:
            seen = worker.last_seen_time.ToMicroseconds() / 1_000_000
            if seen >= since and (not kinds or not set(kinds).isdisjoint(worker.kinds)):
                known = self._workers.setdefault(worker.worker, _Worker())
                known.seen_at = max(known.seen_at, at - max(time() - seen, 0.0))
                known.held = worker.chunk_count

    def apply(self, message: WatchJobsResponse, at: float) -> None:
        """Apply one message."""
        job = message.job
        if message.type in _REMOVED or job.state not in _IN_WORK:
            self._jobs.pop(job.job_id, None)
        else:
            self._jobs[job.job_id] = job
        queue = self._queues.setdefault(job.kind, Counter())
        for change in message.event.changes:
            if change.from_state != change.to_state:
                queue[change.from_state] -= 1
                queue[change.to_state] += 1
            if change.type in _BY_WORKERS:
                worker = self._workers.setdefault(change.actor, _Worker())
                worker.seen_at = at
                worker.held = max(worker.held + (change.type == ChangeType.CLAIMED) - (change.type in _RETURNED), 0)
                worker.completed += change.type == _COMPLETED
        self._add_completed(message, at)

    def _add_completed(self, message: WatchJobsResponse, at: float) -> None:
        completed = [change.chunk_index for change in message.event.changes if change.type == _COMPLETED]
        if completed:
            sized = [chunk for chunk in message.chunks if chunk.HasField("last_item")]
            items = {chunk.index: chunk.last_item - chunk.first_item + 1 for chunk in sized}
            total = sum(items.get(index, 0) for index in completed)
            self._completed.append(_Completed(at, message.job.kind, len(completed), total))
            self._history.add(len(completed), at)

    def remove_old(self, at: float) -> None:
        """Remove entries that are too old to be shown."""
        while self._completed and self._completed[0].at < at - _WINDOW_SECONDS:
            self._completed.popleft()
        since = at - _WORKER_SECONDS
        self._workers = {name: worker for name, worker in self._workers.items() if worker.seen_at >= since}

    def render(self, at: float, *, width: int, rows: int | None = None) -> RenderableType:
        """Return the display at a time, of at most `rows` lines; None means no limit."""
        self.remove_old(at)
        kinds = self._kinds(at, None if rows is None else max(rows // 4, 3))
        max_below = None if rows is None else max(rows // 5, 2)
        below = self._workers_and_failures(at, max_below, wide=width >= WIDE)
        below_rows = min(max(len(self._workers), len(self._failures)), max_below or 0)
        head = [self._summary(at), *self._sparkline(at, width)]
        used = len(head) + kinds.row_count + below_rows + 6
        max_jobs = None if rows is None else max(rows - used, 1)
        jobs = self._in_work(max_jobs, wide=width >= WIDE)
        return Group(*head, Text(), kinds, Text(), jobs, Text(), below)

    def _sparkline(self, at: float, width: int) -> list[Text]:
        values = self._history.values(at)
        return [sparkline(values, "chunks", width=width)] if len(values) > 1 else []

    def _rates(self, at: float) -> dict[str, tuple[float, float]]:
        """Return chunks and items a second by kind."""
        seconds = max(min(at - self._started_at, _WINDOW_SECONDS), 1.0)
        sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for completed in self._completed:
            chunks, items = sums[completed.kind]
            sums[completed.kind] = (chunks + completed.chunks / seconds, items + completed.items / seconds)
        return sums

    def _summary(self, at: float) -> Text:
        rates = self._rates(at).values()
        queued = sum(queue[JobState.QUEUED] for queue in self._queues.values())
        parts = [
            f"{sum(queue[state] for queue in self._queues.values() for state in _IN_WORK):,} running",
            f"{queued:,} queued",
            f"{formatting.rate(sum(chunks for chunks, _ in rates))} chunks/s",
            f"{formatting.rate(sum(items for _, items in rates))} items/s",
            "1 worker" if len(self._workers) == 1 else f"{len(self._workers):,} workers",
        ]
        return formatting.one_line(" · ".join(parts), "bold")

    def _workers_and_failures(self, at: float, max_rows: int | None, *, wide: bool) -> Table:
        """Return the workers that did most, beside the most frequent reasons of failed runs."""
        workers = numbers("WORKER", "HELD", "COMPLETED", "HEARD")
        order = sorted(self._workers.items(), key=lambda entry: (-entry[1].completed, -entry[1].held, entry[0]))
        for name, worker in order[:max_rows]:
            heard = f"{formatting.spoken(at - worker.seen_at)} ago"
            workers.add_row(formatting.one_line(name), f"{worker.held:,}", f"{worker.completed:,}", heard)
        failures = _failures(self._failures[:max_rows], wide=wide)
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column()
        grid.add_column(ratio=1)
        grid.add_row(workers, failures)
        return grid

    def _kinds(self, at: float, max_rows: int | None) -> Table:
        table = numbers("KIND", "QUEUED", "RUNNING", "CANCELLING", "HELD", "CHUNKS/S", "ITEMS/S")
        rates = self._rates(at)
        busy = [kind for kind in self._queues if rates[kind][0] or any(self._queues[kind][s] > 0 for s in _SHOWN)]
        busy.sort(key=lambda kind: (-sum(self._queues[kind][state] for state in _SHOWN), kind))
        for kind in busy[:max_rows]:
            counts = [f"{max(self._queues[kind][state], 0):,}" for state in _SHOWN]
            held = f"{self._held.get(kind, 0):,}"
            table.add_row(formatting.literal(kind), *counts, held, *map(formatting.rate, rates[kind]))
        return table

    def _in_work(self, max_rows: int | None, *, wide: bool) -> Table:
        """Return the running jobs, one a line. Long lines are cut, but never in an id or a number."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        more = ("CHUNKS", "ITEMS/S", "KIND", "STAGE") if wide else ()
        for column in ("JOB", "STATE", "DONE", "ETA", *more, "NAME"):
            right = column in ("DONE", "ITEMS/S", "ETA")
            may_shrink = column in ("KIND", "STAGE", "NAME")
            table.add_column(column, no_wrap=not may_shrink, justify="right" if right else "left")
        order = sorted(self._jobs.values(), key=lambda job: (-job.priority, job.start_time.ToNanoseconds(), job.job_id))
        for job in order[:max_rows]:
            progress = job.progress
            rate = formatting.rate(progress.items_per_second) if progress.HasField("items_per_second") else ""
            details = _mix(job), rate, formatting.one_line(job.kind), formatting.one_line(progress.stage)
            table.add_row(
                formatting.literal(job.job_id),
                formatting.coloured(JobState(job.state)),
                formatting.percent(progress.percent),
                formatting.eta(progress.eta, clock=wide) if progress.HasField("eta") else "",
                *(details if wide else ()),
                formatting.one_line(job.display_name),
            )
        return table


def _mix(job: Job) -> Text:
    """Return how many of a job's chunks are in which state, as a bar."""
    chunks = job.chunks_summary
    counts = [
        (Shown.COMPLETED, chunks.completed),
        (Shown.FAILED, chunks.failed),
        (Shown.PROCESSING, chunks.processing),
        (Shown.CANCELLED, chunks.cancelled),
        (Shown.PENDING, chunks.pending),
    ]
    return mix(counts, _MIX_WIDTH)


def _failures(groups: Iterable[FailureGroup], *, wide: bool) -> Table:
    """Return the reasons of the runs that failed within a day."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("FAILED", justify="right", no_wrap=True)
    for column in ("ERROR CODE, LAST 24 H", "STAGE", *(("EXAMPLE",) if wide else ())):
        table.add_column(column, no_wrap=column == "EXAMPLE")
    for group in groups:
        example = [formatting.literal(group.example_job_id)] if wide else []
        code, stage = formatting.one_line(group.error_code, "red"), formatting.one_line(group.stage)
        table.add_row(f"{group.count:,}", code, stage, *example)
    return table
