"""What a dispatcher knows: the jobs that have chunks to push, and the pushed chunks that no task has claimed yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from jobledger.v1.chunk_pb2 import Chunk, ChunkState
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMessageType

_GONE = (WatchMessageType.WATCH_MESSAGE_TYPE_DELETED, WatchMessageType.WATCH_MESSAGE_TYPE_LEFT)
_LIVE = (JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_RUNNING)
_PENDING = ChunkState.CHUNK_STATE_PENDING


@dataclass(slots=True)
class Pushed:
    """A message to the engine that has not led to a claim yet. Times are in seconds, of the loop's clock."""

    task_id: str
    attempt: int
    pushed_at: float
    patience: float
    times: int = 1

    @property
    def lost_at(self) -> float:
        """When it is taken for lost: after `patience`, then after twice as long, and so on."""
        return self.pushed_at + self.patience * 2.0 ** (self.times - 1)


@dataclass(slots=True)
class _Entry:
    job: Job
    pushed: dict[int, Pushed] = field(default_factory=dict)


class Backlog:
    """Fed with the messages of a watch; it forgets what was claimed, and names the tasks that nobody needs any more."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._entries: dict[str, _Entry] = {}

    def waiting(self, now: float) -> int:
        """Return how many pushed chunks no task has claimed, without those whose message is taken for lost."""
        return sum(now < pushed.lost_at for entry in self._entries.values() for pushed in entry.pushed.values())

    def jobs(self) -> list[Job]:
        """Return the jobs that have pending chunks: the most urgent first, the oldest first within a priority."""
        jobs = [entry.job for entry in self._entries.values() if entry.job.chunks_summary.pending]
        return sorted(jobs, key=lambda job: (-job.priority, job.create_time.ToNanoseconds(), job.job_id))

    def pushed(self, job_id: str, chunk: Chunk) -> Pushed | None:
        """Return the message for the chunk's next attempt, if one is on its way."""
        entry = self._entries.get(job_id)
        found = entry.pushed.get(chunk.index) if entry else None
        return found if found and found.attempt == chunk.attempt else None

    def next_loss(self, now: float) -> float:
        """Return the seconds until the next message is taken for lost, infinity when none waits."""
        waits = (pushed.lost_at - now for entry in self._entries.values() for pushed in entry.pushed.values())
        return min((wait for wait in waits if wait > 0), default=inf)

    def note(self, job_id: str, chunk: Chunk, task_id: str, now: float) -> None:
        """Note that the chunk was pushed."""
        entry = self._entries.get(job_id)
        if entry is None:
            return
        again = self.pushed(job_id, chunk)
        entry.pushed[chunk.index] = Pushed(task_id, chunk.attempt, now, self._patience, again.times + 1 if again else 1)

    def hear(self, message: WatchJobsResponse) -> list[str]:
        """Take a message of the watch; return the task ids of messages that lead nowhere any more."""
        job = message.job
        if message.type in _GONE or job.state not in _LIVE:
            entry = self._entries.pop(job.job_id, None)
            return [pushed.task_id for pushed in entry.pushed.values()] if entry else []
        entry = self._entries.setdefault(job.job_id, _Entry(job))
        entry.job = job
        for index, state in _states(message):
            if state != _PENDING:
                entry.pushed.pop(index, None)
        if not job.chunks_summary.pending:
            entry.pushed.clear()
        return []

    def forget(self, job_id: str) -> None:
        """Forget a job that is not there."""
        self._entries.pop(job_id, None)


def _states(message: WatchJobsResponse) -> Iterator[tuple[int, ChunkState.ValueType]]:
    for several in message.chunk_ranges:
        for index in range(several.first_index, several.last_index + 1):
            yield index, several.state
    for chunk in message.chunks:
        yield chunk.index, chunk.state
