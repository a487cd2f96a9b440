"""What is known of a watched job: the job, its chunks, and how fast it goes."""

from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Self

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import ListChunksResponse, WatchJobResponse

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import WatchMessageType
from jobledger_client.cli._live._chunk_states import ChunkStates
from jobledger_client.cli._live._rates import RateHistory
from jobledger_client.cli._queue_wait import QueueWait

_MIN_PAUSE_SECONDS = 2.0
_PAUSE_FACTOR = 4.0
"""After a load of chunks comes a pause of this many times as long."""

ListChunks = Callable[[], Iterable[ListChunksResponse]]
"""Returns the pages of the chunks in LISTED_STATES, which are requested as they are read."""


class WatchedJob:
    """The state of a watched job. Any thread may read it, under `lock`."""

    def __init__(self, *, has_chunks: bool = True) -> None:
        self.job = Job()
        self.queue_wait = QueueWait()
        self.chunks = ChunkStates()
        self.rates: RateHistory | None = None
        self.applied_at = monotonic()
        """When the last message was applied."""
        self.lock = Lock()
        self.load_wanted = Event()
        self._has_chunks = has_chunks

    def apply(self, message: WatchJobResponse) -> None:
        """Apply one message; a message without chunks, as in view STATUS, tells nothing of them."""
        with self.lock:
            self._count(message.job, monotonic())
            self.job = message.job
            self.queue_wait.update(message.job)
            if self._has_chunks and message.type != WatchMessageType.DELETED:
                self.chunks.apply(message)
                if self.chunks.needs_load:
                    self.load_wanted.set()

    def _count(self, job: Job, at: float) -> None:
        self.applied_at = at
        if self.rates is None:
            self.rates = RateHistory(at)
        elif self.job.job_id:
            self.rates.add(max(done(job) - done(self.job), 0), at)


def done(job: Job) -> int:
    """Return how many items are completed, or how many chunks of a job without items."""
    return job.progress.items_completed if job.progress.items_total else job.chunks_summary.completed


class ChunkLoader:
    """A context manager that lists the chunks of a watched job on a thread whenever its messages omitted some.

    A load reads at most all chunks once, and pauses bound how much of the time is spent so, however often it is due.
    """

    def __init__(self, view: WatchedJob, list_chunks: ListChunks) -> None:
        self._view = view
        self._list_chunks = list_chunks
        self._stopped = Event()
        self._loading = Lock()
        self._thread = Thread(target=self._run, name="chunks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._view.load_wanted.set()
        if kind is None and self._view.chunks.needs_load:
            self._load()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            self._view.load_wanted.wait()
            started_at = monotonic()
            if not self._stopped.is_set():
                self._load()
            pause = max(_PAUSE_FACTOR * (monotonic() - started_at), _MIN_PAUSE_SECONDS)

    def _load(self) -> None:
        """Load the chunks; after an error, such as an unreachable server, the load is due again."""
        view = self._view
        with self._loading:
            with view.lock:
                view.load_wanted.clear()
                if not view.chunks.needs_load:
                    return
                view.chunks.begin_load()
            try:
                pages = list(self._list_chunks())
            except JobledgerError:
                with view.lock:
                    view.chunks.needs_load = True
                view.load_wanted.set()
                return
            with view.lock:
                view.chunks.end_load(pages)
