"""What a watch of many jobs has told, so that beginning again from the start repeats and forgets nothing."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse, WatchMessageType

from jobledger_client._errors import CursorError

Name: TypeAlias = tuple[str, str]
"""The owner of a job and its job_id."""

REMEMBERED: Final = 100_000
"""Jobs that a watch remembers while it has a cursor, those that it heard of last: about 30 MB."""

_GONE = (WatchMessageType.WATCH_MESSAGE_TYPE_LEFT, WatchMessageType.WATCH_MESSAGE_TYPE_DELETED)

_Version: TypeAlias = tuple[int, int, int]  # when the job was created, as a job_id may be used again, and its revision


@dataclass(frozen=True, slots=True)
class Relist:
    """A watch has begun again, because the history after its cursor is gone; changes in between were not told.

    `error` says why: HistoryTrimmedError or CursorAheadError. `present` are owner and job_id of all jobs that match
    now: whoever keeps jobs from before this watch drops those that are not among them.
    """

    error: CursorError
    present: frozenset[Name]


class Told:
    """The jobs that the caller of a watch knows from it, and which of them the snapshots under way have shown.

    Until the snapshots have ended it remembers all, afterwards the `remembered` that were heard of last.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[Name, _Version | None] = {}
        self._present: set[Name] = set()
        self._listing = False

    def begin(self) -> None:
        """Note that snapshots begin, from the start."""
        self._listing = True
        self._present.clear()

    def rewound(self) -> None:
        """Note that the ledger was set back: revisions that were told say nothing any more."""
        self._known = dict.fromkeys(self._known)

    def is_news(self, message: WatchJobResponse | WatchJobsResponse) -> bool:
        """Tell whether the caller does not know what the message says, and note it."""
        if isinstance(message, WatchJobsResponse) and message.unreadable_job_ids:
            unreadable = set(message.unreadable_job_ids)  # they cannot be shown, and have not gone
            self._present |= {name for name in self._known if name[1] in unreadable}
            return True
        job, name = message.job, (message.job.owner, message.job.job_id)
        if message.type in _GONE:
            self._present.discard(name)
            self._known.pop(name, None)
            return True
        version = (job.create_time.seconds, job.create_time.nanos, job.revision)
        known = self._known.pop(name, None)
        self._known[name] = version
        if self._listing:
            self._present.add(name)
            return version != known
        if len(self._known) > self._remembered:
            del self._known[next(iter(self._known))]
        return True

    def end(self) -> tuple[list[Job], frozenset[Name]]:
        """Note that the snapshots have ended; return the jobs that went away, by name alone, and the present ones."""
        present = frozenset(self._present)
        gone = [name for name in self._known if name not in present]
        for name in gone:
            del self._known[name]
        for name in list(self._known)[: max(0, len(self._known) - self._remembered)]:
            del self._known[name]
        self._present.clear()
        self._listing = False
        return [Job(owner=owner, job_id=job_id) for owner, job_id in gone], present
