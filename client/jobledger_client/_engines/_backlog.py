"""The backlog of a dispatcher: jobs with chunks to push, and pushed chunks that no task has claimed yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse

from jobledger_client._generated._enums import ChunkState, JobState, WatchMessageType

_REMOVED = (WatchMessageType.DELETED, WatchMessageType.LEFT)
_CLAIMABLE = (JobState.QUEUED, JobState.RUNNING)
_PENDING = ChunkState.PENDING


@dataclass(slots=True)
class Pushed:
    """A message to the engine whose task has not claimed its chunk yet. Times are in seconds of the loop's clock."""

    task_id: str
    attempt: int
    pushed_at: float
    timeout_seconds: float
    push_count: int = 1

    @property
    def lost_at(self) -> float:
        """When the message counts as lost: after the timeout, then after twice as long, and so on."""
        return self.pushed_at + self.timeout_seconds * 2.0 ** (self.push_count - 1)


@dataclass(slots=True)
class _Entry:
    job: Job
    pushed: dict[int, Pushed] = field(default_factory=dict)
    has_finalizer: bool = False

    @property
    def has_claimable(self) -> bool:
        """Whether more chunks are pending than a finalizer that waits for the others, and nothing holds the job."""
        counts = self.job.chunks_summary
        waits = self.has_finalizer and not counts.cancelled and counts.completed < counts.total - 1
        return counts.pending > waits and not self.job.holds


class Backlog:
    """The jobs and pushed chunks that the messages of a watch describe."""

    def __init__(self, push_timeout_seconds: float) -> None:
        self._push_timeout_seconds = push_timeout_seconds
        self._entries: dict[str, _Entry] = {}

    def count_unclaimed(self, now: float) -> int:
        """Return how many pushed chunks no task has claimed, without those whose message counts as lost."""
        return sum(now < pushed.lost_at for entry in self._entries.values() for pushed in entry.pushed.values())

    def jobs(self) -> list[Job]:
        """Return the jobs with pending chunks that nothing holds: the most urgent first, then the oldest."""
        jobs = [entry.job for entry in self._entries.values() if entry.has_claimable]
        return sorted(jobs, key=lambda job: (-job.priority, job.create_time.ToNanoseconds(), job.job_id))

    def pushed(self, job_id: str, chunk: Chunk) -> Pushed | None:
        """Return the message for the chunk's next attempt, if there is one."""
        entry = self._entries.get(job_id)
        message = entry.pushed.get(chunk.index) if entry else None
        return message if message and message.attempt == chunk.attempt else None

    def add_finalizer(self, job_id: str) -> None:
        """Remember that the last chunk of a job is a finalizer."""
        if entry := self._entries.get(job_id):
            entry.has_finalizer = True

    def seconds_until_loss(self, now: float) -> float:
        """Return the seconds until the next message counts as lost; infinity without one."""
        waits = (pushed.lost_at - now for entry in self._entries.values() for pushed in entry.pushed.values())
        return min((wait for wait in waits if wait > 0), default=inf)

    def add_pushed(self, job_id: str, chunk: Chunk, task_id: str, now: float) -> None:
        """Add the message that was sent for a chunk."""
        entry = self._entries.get(job_id)
        if entry is None:
            return
        previous = self.pushed(job_id, chunk)
        push_count = previous.push_count + 1 if previous else 1
        entry.pushed[chunk.index] = Pushed(task_id, chunk.attempt, now, self._push_timeout_seconds, push_count)

    def apply(self, message: WatchJobsResponse) -> list[str]:
        """Apply a message of the watch; return the task ids of messages that are no longer needed."""
        job = message.job
        if message.type in _REMOVED or job.state not in _CLAIMABLE:
            entry = self._entries.pop(job.job_id, None)
            return [pushed.task_id for pushed in entry.pushed.values()] if entry else []
        entry = self._entries.setdefault(job.job_id, _Entry(job))
        entry.job = job
        for index, state in _chunk_states(message):
            if state != _PENDING:
                entry.pushed.pop(index, None)
        if not job.chunks_summary.pending:
            entry.pushed.clear()
        return []

    def remove(self, job: Job) -> None:
        """Remove a job that no longer exists, and not another one that has its job_id now."""
        if (entry := self._entries.get(job.job_id)) and entry.job.uid == job.uid:
            del self._entries[job.job_id]


def _chunk_states(message: WatchJobsResponse) -> Iterator[tuple[int, int]]:
    for chunk_range in message.chunk_ranges:
        for index in range(chunk_range.first_index, chunk_range.last_index + 1):
            yield index, chunk_range.state
    for chunk in message.chunks:
        yield chunk.index, chunk.state
