"""A page of a list of jobs, kept current by a watch."""

from collections.abc import Iterable
from math import inf
from typing import Final

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import ListJobsResponse
from jobledger_client import ChangeType, JobOrder, JobState, WatchMessageType

from jobledger_console.jobs.query import JobQuery
from jobledger_console.streams import WatchMessage

Name = tuple[str, str]
"""The owner and the job_id of a job."""

_REMOVED: Final = (WatchMessageType.LEFT, WatchMessageType.DELETED)
_NEW: Final = (ChangeType.CREATED, ChangeType.IMPORTED)


class JobList:
    """The jobs of one page, in order. Messages may arrive before the list does: revisions tell which is newer.

    On the first page jobs come in as they are created or begin to match; later pages only lose jobs.
    """

    def __init__(self, query: JobQuery, page_size: int) -> None:
        self._query = query
        self._is_ascending = query.order.name.endswith("_ASC")
        self._page_size = page_size
        self._jobs: dict[Name, Job] = {}
        self._removed: dict[Name, int] = {}
        """Revisions at which jobs left before the list came."""
        self._is_loaded = False
        self.next_page_token = ""
        self.total = 0
        self.total_is_lower_bound = False
        self.total_is_estimate = False
        """Whether changes were added to the count since it was listed."""

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the page, in its order."""
        return list(self._jobs.values())

    def load(self, page: ListJobsResponse) -> None:
        """Take over a page that was listed after the watch had begun."""
        newer, self._jobs = self._jobs, {}
        for job in page.jobs:
            if self._removed.get(_name(job), -1) < job.revision:
                self._jobs[_name(job)] = job
        self._is_loaded = True
        self._removed.clear()
        self.next_page_token = page.next_page_token
        self.total, self.total_is_lower_bound = page.total_size, page.total_is_lower_bound
        for job in newer.values():
            self._put(job)

    def apply(self, message: WatchMessage) -> bool:
        """Apply a message; return whether the page looks different now."""
        if not message.HasField("job"):
            return False
        self._count(message)
        if message.type in _REMOVED:
            return self._remove(message.job)
        return self._put(message.job)

    def _remove(self, job: Job) -> bool:
        known = self._jobs.get(_name(job))
        if not self._is_loaded:
            self._removed[_name(job)] = job.revision
        # After a restart of the watch it names the jobs that are gone, without revisions.
        if known is not None and (known.revision <= job.revision or not job.revision):
            del self._jobs[_name(job)]
            return True
        return False

    def _put(self, job: Job) -> bool:
        known = self._jobs.get(_name(job))
        if known is not None and known.uid == job.uid and known.revision >= job.revision:
            return False
        if not self._is_loaded:
            self._jobs[_name(job)] = job
            return False
        if known is None and not self._has_room_for(job):
            return False
        self._jobs[_name(job)] = job
        self._sort()
        return True

    def _has_room_for(self, job: Job) -> bool:
        if self._query.after:
            return False
        if len(self._jobs) < self._page_size and not self.next_page_token:
            return True
        return bool(self._jobs) and self._is_before(job, next(reversed(self._jobs.values())))

    def _is_before(self, job: Job, other: Job) -> bool:
        first, second = self._place(job), self._place(other)
        return first < second if self._is_ascending else first > second

    def _sort(self) -> None:
        ordered = sorted(self._jobs.values(), key=self._place, reverse=not self._is_ascending)
        if len(ordered) > self._page_size:
            # The next page of the list begins after the last job that was listed: what falls out here is on neither.
            ordered = ordered[: self._page_size]
        self._jobs = {_name(job): job for job in ordered}

    def _place(self, job: Job) -> tuple[float, int, str]:
        created = job.create_time.ToNanoseconds()
        match self._query.order:
            case JobOrder.UPDATE_TIME_DESC | JobOrder.UPDATE_TIME_ASC:
                place: float = job.update_time.ToNanoseconds()
            case JobOrder.END_TIME_DESC | JobOrder.END_TIME_ASC:
                place = job.end_time.ToNanoseconds() if job.HasField("end_time") else inf
            case JobOrder.PRIORITY_DESC | JobOrder.PRIORITY_ASC:
                place = job.priority
            case _:
                place = created
        return place, created, job.job_id

    def _count(self, message: WatchMessage) -> None:
        """Count the jobs that match, as far as messages tell."""
        if message.type in _REMOVED:
            difference = -1
        else:
            difference = sum(
                self._begins_to_match(change.type, change.from_state) for change in message.event.changes[:1]
            )
        if difference and self._is_loaded:
            self.total = max(self.total + difference, len(self._jobs) + difference, 0)
            self.total_is_estimate = True

    def _begins_to_match(self, change_type: int, from_state: int) -> bool:
        return change_type in _NEW or (bool(self._query.states) and JobState(from_state) not in self._query.states)


def _name(job: Job) -> Name:
    return job.owner, job.job_id


def names(jobs: Iterable[Job]) -> list[str]:
    """Return the ids of jobs."""
    return [job.job_id for job in jobs]
