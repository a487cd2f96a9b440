"""One job with its chunks and attempts, kept true by a watch, for all pages that show it."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.chunk_pb2 import Attempt, Chunk, ChunkRange
from jobledger.v1.event_pb2 import JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger_client import (
    AsyncJobClient,
    AttemptOutcome,
    ChangeType,
    ChunkState,
    JobNotFoundError,
    JobView,
    WatchMessageType,
)

from jobledger_console.streams import WatchMessage

MAX_ATTEMPTS: Final = 5_000
"""Attempts that are kept, the last ones."""
_PAGE_SIZE: Final = 1_000
_MAX_ATTEMPT_PAGES: Final = MAX_ATTEMPTS // _PAGE_SIZE
_ONCE: Final = ("input", "output")
"""Fields that messages of watches lack."""
_ENDED: Final = {
    ChunkState.COMPLETED: AttemptOutcome.COMPLETED,
    ChunkState.FAILED: AttemptOutcome.FAILED,
    ChunkState.CANCELLED: AttemptOutcome.CANCELLED,
}
_OUTCOMES: Final = {
    ChangeType.CHUNK_FAILED: AttemptOutcome.FAILED,
    ChangeType.CHUNK_RELEASED: AttemptOutcome.RELEASED,
    ChangeType.LEASE_EXPIRED: AttemptOutcome.EXPIRED,
    ChangeType.ATTEMPT_TIMED_OUT: AttemptOutcome.TIMED_OUT,
}


@dataclass(slots=True)
class Try:
    """One attempt at a chunk; times in seconds since 1970, `end` None while it lasts."""

    chunk: int
    worker: str
    start: float
    end: float | None = None
    outcome: AttemptOutcome | None = None
    code: str = ""


class JobModel:
    """The job. It is loaded after its watch has begun; messages of the watch are newer.

    Each page that shows it calls `load`; one of them does the work.
    """

    def __init__(self, job_id: str, owner: str) -> None:
        self._job_id = job_id
        self._owner = owner
        self._lock = asyncio.Lock()
        self._is_loaded = False
        self._newer: set[int] = set()
        """Chunks that a message brought since loading began."""
        self.job: Job | None = None
        self.is_deleted = False
        self.chunks: dict[int, Chunk] = {}
        self.states = bytearray()
        """The state of each chunk, by its index."""
        self.tries: dict[tuple[int, float], Try] = {}
        self.attempts_are_cut = False
        """Whether there were more attempts than are kept."""

    async def load(self, client: AsyncJobClient) -> None:
        """Read the job, its chunks and attempts, unless another page has. Raises the error of a call."""
        async with self._lock:
            if self._is_loaded:
                return
            self._newer.clear()
            job = await client.get_job(self._job_id, view=JobView.FULL, owner=self._owner)
            self._take_job(job)
            self._take_chunks(job.chunks)
            with suppress(JobNotFoundError):  # it is gone meanwhile, as the watch tells; another one is still to load
                await self._load_chunks(client, job.uid, job.next_chunks_page_token)
                await self._load_attempts(client, job.uid)
                self._is_loaded = True

    async def _load_chunks(self, client: AsyncJobClient, uid: str, page_token: str) -> None:
        if page_token:
            pages = client.list_chunks(
                self._job_id, uid=uid, page_size=_PAGE_SIZE, page_token=page_token, owner=self._owner
            )
            async for page in pages.pages():
                self._take_chunks(page.chunks)

    async def _load_attempts(self, client: AsyncJobClient, uid: str) -> None:
        count = 0
        pages = client.list_attempts(self._job_id, uid=uid, page_size=_PAGE_SIZE, owner=self._owner)
        async for page in pages.pages():
            for attempt in page.attempts:
                self._take_attempt(attempt)
            count += 1
            if count == _MAX_ATTEMPT_PAGES and page.next_page_token:
                self.attempts_are_cut = True
                break

    @property
    def needs_loading(self) -> bool:
        """Whether changes were missed since it was loaded."""
        return not (self._is_loaded or self.is_deleted or self._lock.locked())

    def miss(self) -> None:
        """Note that changes were missed."""
        self._is_loaded = False

    def apply(self, message: WatchMessage) -> None:
        """Take over a message of the watch."""
        if not message.HasField("job"):
            return
        if message.type == WatchMessageType.DELETED:
            self.is_deleted = True
            return
        self._take_job(message.job)
        event = message.event
        for part in message.chunk_ranges:
            self._take_range(part, event.commit_time)
        outcomes = _outcomes(event)
        for chunk in message.chunks:
            self._newer.add(chunk.index)
            self._take_chunk(chunk)
            self._follow_attempt(chunk, event.commit_time, outcomes.get(chunk.index))
        if message.chunks_omitted:
            self.miss()

    def _take_job(self, job: Job) -> None:
        known = self.job
        if known is not None and known.uid != job.uid:  # another job of this id
            self.chunks, self.tries, self.states = {}, {}, bytearray()
            known = None
        newer, older = (known, job) if known is not None and known.revision > job.revision else (job, known)
        if older is not None:
            for name in _ONCE:
                if older.HasField(name) and not newer.HasField(name):
                    getattr(newer, name).CopyFrom(getattr(older, name))
        self.job = newer
        self.is_deleted = False
        missing = job.chunks_summary.total - len(self.states)
        if missing > 0:
            self.states.extend([ChunkState.PENDING] * missing)

    def _take_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Take over listed chunks; messages since loading began are as new, or newer ones follow."""
        for chunk in chunks:
            if chunk.index not in self._newer:
                self._take_chunk(chunk)

    def _take_chunk(self, chunk: Chunk) -> None:
        self.chunks[chunk.index] = chunk
        if chunk.index < len(self.states):
            self.states[chunk.index] = chunk.state

    def _take_range(self, part: ChunkRange, time: Timestamp) -> None:
        for index in range(part.first_index, min(part.last_index + 1, len(self.states))):
            self._newer.add(index)
            self.states[index] = part.state
            chunk = self.chunks.get(index)
            if chunk is None:
                continue
            chunk.state = part.state
            if part.state == ChunkState.CANCELLED:
                chunk.end_time.CopyFrom(time)
                self._follow_attempt(chunk, time, AttemptOutcome.CANCELLED)
            else:
                chunk.ClearField("end_time")

    def _take_attempt(self, attempt: Attempt) -> None:
        start = _seconds(attempt.start_time)
        key = (attempt.chunk_index, start)
        if key in self.tries and self.tries[key].end is not None:
            return
        shown = Try(attempt.chunk_index, attempt.worker, start)
        if attempt.HasField("end_time"):
            shown.end, shown.outcome = _seconds(attempt.end_time), AttemptOutcome(attempt.outcome)
            shown.code = attempt.error.code
        self._add(key, shown)

    def _follow_attempt(self, chunk: Chunk, time: Timestamp, outcome: AttemptOutcome | None) -> None:
        """Follow the latest attempt at a chunk from the chunk itself."""
        if not chunk.HasField("start_time"):
            return
        key = (chunk.index, _seconds(chunk.start_time))
        shown = self.tries.get(key)
        if shown is None:
            shown = Try(chunk.index, chunk.worker, key[1])
            self._add(key, shown)
        if chunk.state == ChunkState.PROCESSING or shown.end is not None:
            return
        ended = _ENDED.get(ChunkState(chunk.state))
        shown.outcome = outcome or ended or AttemptOutcome.FAILED
        shown.end = _seconds(chunk.end_time if chunk.HasField("end_time") else time)
        shown.code = chunk.error.code

    def _add(self, key: tuple[int, float], shown: Try) -> None:
        self.tries[key] = shown
        if len(self.tries) > MAX_ATTEMPTS:
            self.attempts_are_cut = True
            del self.tries[next(iter(self.tries))]


def _outcomes(event: JobEvent) -> dict[int, AttemptOutcome]:
    """Return how attempts ended, by their chunks."""
    return {
        change.chunk_index: _OUTCOMES[ChangeType(change.type)]
        for change in event.changes
        if change.type in _OUTCOMES and change.HasField("chunk_index")
    }


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos // 1_000 / 1e6
