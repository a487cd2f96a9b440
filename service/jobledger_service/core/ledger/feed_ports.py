"""What the ledger needs to show changes: messages, and a feed that hands them to watchers."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.filter import JobFilter

from .entry import Entry, Record
from .read_ports import EventRow, JobRead


class Codec(Protocol):
    """Makes watch messages. The ledger stores and forwards them without looking inside."""

    def encode(self, record: Record) -> EventRow:
        """Return the event of a record, without its position and the time of its commit."""

    def seal(self, event: EventRow, position: int, commit_time: int, cursor: bytes) -> EventRow:
        """Return the event that `encode` returned with its position and time, which its message ends with."""

    def open(self, row: EventRow) -> Entry:
        """Return the entry of a stored event."""

    def snapshot(self, read: JobRead, cursor: bytes) -> bytes:
        """Return the message that shows a job as it is; without a cursor when that is empty. Raises JobUnreadable."""

    def unreadable_jobs(self, job_ids: Sequence[str]) -> bytes:
        """Return the message of a snapshot of many jobs that names those that cannot be shown."""

    def merge(self, latest: Entry, earlier: Sequence[Entry], cursor: bytes) -> bytes:
        """Return the message of an entry into which earlier ones of its job were merged; `earlier` may be empty."""

    def left(self, message: bytes) -> bytes:
        """Return the message as the one that tells that a job no longer matches."""

    def bookmark(self, cursor: bytes) -> bytes:
        """Return a message that is a cursor alone."""


class Subscription(Protocol):
    """One watcher's place in the feed."""

    @property
    def position(self) -> int:
        """Everything up to here was handed out or did not concern the watcher. It never falls."""

    async def next(self, timeout_seconds: float) -> Sequence[Entry]:
        """Return what follows and concerns the watcher, oldest first; nothing when `timeout_seconds` seconds pass.

        While it catches up it may return nothing at once: there was nothing for the watcher in what was read.

        Raises HistoryTrimmed, Draining, StoreUnavailable.
        """

    def close(self) -> None:
        """Leave the feed."""


class Stops(MsgStruct, frozen=True):
    """The jobs whose leases a worker is to check; `check_all`: all of its leases."""

    job_ids: Sequence[str] = ()
    check_all: bool = False


class StopSubscription(Protocol):
    """One worker's stream of what is stopped."""

    async def next(self, seconds: float) -> Stops:
        """Return what was stopped since the last call; nothing after `seconds` of quiet. Raises Draining."""

    def close(self) -> None:
        """Leave the feed."""


class Feed(Protocol):
    """Hands entries to watchers."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    def subscribe_to_job(self, after: int, job_key: str) -> Subscription:
        """Follow one job from a position on."""

    def subscribe_to_jobs(self, after: int, jobs: JobFilter) -> Subscription:
        """Follow the jobs that match from a position on: what changed on each that did before, or does now."""

    def subscribe_to_stops(self, owner: str, kinds: frozenset[str]) -> StopSubscription:
        """Follow what is stopped of an owner's jobs of these kinds, of all when empty, from now on."""


class FeedCounts(Protocol):
    """What a feed did since its process started."""

    @property
    def evaluations(self) -> int:
        """How often a filter was applied to an entry that was just committed."""

    @property
    def wakeups(self) -> int:
        """How often a watch was handed an entry that was just committed."""

    @property
    def history(self) -> int:
        """How many stored events were read for watches that lag."""


class WatchedFeed(Protocol):
    """What can be seen of the feed from outside."""

    @property
    def counts(self) -> FeedCounts:
        """What it did since the process started."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    @property
    def watchers(self) -> int:
        """How many watches are open."""
