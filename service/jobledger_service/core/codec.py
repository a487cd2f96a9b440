"""What the ledger needs to show changes: messages."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from .database.rows.entry import Entry, JobSegments
from .database.rows.reads import EventRow, JobRead
from .model.history.change import JobDelta
from .model.job import Job
from .model.micros import Micros


class Codec(Protocol):
    """Encodes watch messages. The ledger stores and forwards them without decoding."""

    def segments(self, job: Job) -> JobSegments:
        """Return a job in view BASIC as encoded messages."""

    def encode(self, delta: JobDelta, segments: JobSegments, *, with_previous: bool = False) -> Entry:
        """Return the entry of a batch's changes of a job, which is encoded, without its position and commit time.

        With `with_previous` it also shows the whole job before.
        """

    def seal(self, entry: Entry, position: int, commit_time: Micros, cursor: bytes) -> Entry:
        """Return the entry that `encode` returned with its position and time, which its message ends with."""

    def open(self, row: EventRow) -> Entry:
        """Return the entry of a stored event; an unreadable one has an empty message and no filter fields."""

    def message(self, entry: Entry, *, status: bool = False) -> bytes:
        """Return the message of an entry, made once for all watchers in view STATUS."""

    def snapshot(self, read: JobRead, cursor: bytes, *, status: bool = False) -> bytes:
        """Return the message that shows a job as it is; without a cursor when that is empty. Raises JobUnreadable.

        The last chunks are left out when it would be too large.
        """

    def uid(self, read: JobRead) -> str:
        """Return the uid of a job; raises JobUnreadable."""

    def unreadable_jobs(self, job_ids: Sequence[str]) -> bytes:
        """Return the message of a snapshot of many jobs that names those that cannot be shown."""

    def merge(self, latest: Entry, earlier: Sequence[Entry], cursor: bytes = b"", *, status: bool = False) -> bytes:
        """Return the message of an entry into which earlier ones of its job were merged, with another cursor if given.

        `earlier` may be empty.
        """

    def batch(self, messages: Sequence[bytes]) -> Iterable[bytes]:
        """Return messages of a watch of many jobs in as few as hold them: each holds those that follow its first."""

    def as_unmatched(self, message: bytes) -> bytes:
        """Return the message changed into one that announces that a job no longer matches; a deletion stays one."""

    def bookmark(self, cursor: bytes) -> bytes:
        """Return a message with a cursor only."""

    def stopped_jobs(self, job_ids: Iterable[str], *, check_all: bool) -> bytes:
        """Return a message to a worker, which checks its leases of these jobs, or all of them."""
