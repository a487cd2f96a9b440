"""The jobs that a watch of many jobs has returned, so that a restart from snapshots repeats and omits nothing."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse

from jobledger_client._error_groups import CursorError
from jobledger_client._generated._enums import WatchMessageType

JobName: TypeAlias = tuple[str, str]
"""The owner of a job and its job_id."""

MAX_SEEN_JOBS: Final = 100_000
"""How many jobs a watch with a cursor remembers, the most recent ones: about 30 MB."""

_REMOVED = (WatchMessageType.LEFT, WatchMessageType.DELETED)

_Version: TypeAlias = tuple[str, int, int]
"""The uid, as a job_id may be used again; the revision and its time, as a fail-over may lose a revision."""


@dataclass(frozen=True, slots=True)
class Relist:
    """A watch has restarted, because the history after its cursor is gone; it missed the changes in between.

    `error` is the reason: HistoryTrimmedError or HistoryLostError. `present` are owner and job_id of all jobs that
    match now: a caller that keeps jobs from before this watch drops the others.
    """

    error: CursorError
    present: frozenset[JobName]


class SeenJobs:
    """The jobs that the caller of a watch knows from it, and which of them the current snapshots contain.

    During snapshots it remembers all of them, afterwards the `max_jobs` most recent ones.
    """

    def __init__(self, max_jobs: int = MAX_SEEN_JOBS) -> None:
        self._max_jobs = max_jobs
        self._versions: dict[JobName, _Version] = {}
        self._present: set[JobName] = set()
        self.in_snapshots = False

    def begin_snapshots(self) -> None:
        """Begin a list of snapshots, from its start."""
        self.in_snapshots = True
        self._present.clear()

    def add(self, message: WatchJobResponse | WatchJobsResponse) -> bool:
        """Add the job of a message; return whether the message is new to the caller."""
        if isinstance(message, WatchJobsResponse) and message.unreadable_job_ids:
            unreadable = set(message.unreadable_job_ids)  # they cannot be shown, but still exist
            self._present |= {name for name in self._versions if name[1] in unreadable}
            return True
        job, name = message.job, (message.job.owner, message.job.job_id)
        if message.type in _REMOVED:
            self._present.discard(name)
            self._versions.pop(name, None)
            return True
        version = (job.uid, job.revision, job.update_time.ToNanoseconds())
        previous = self._versions.pop(name, None)
        self._versions[name] = version
        if self.in_snapshots:
            self._present.add(name)
            return version != previous
        if len(self._versions) > self._max_jobs:
            del self._versions[next(iter(self._versions))]
        return True

    def end_snapshots(self) -> tuple[list[Job], frozenset[JobName]]:
        """End the snapshots; return the jobs that they lack, by name alone, and the names of those that they have."""
        present = frozenset(self._present)
        removed = [name for name in self._versions if name not in present]
        for name in removed:
            del self._versions[name]
        for name in list(self._versions)[: max(0, len(self._versions) - self._max_jobs)]:
            del self._versions[name]
        self._present.clear()
        self.in_snapshots = False
        return [Job(owner=owner, job_id=job_id) for owner, job_id in removed], present
