"""The ports of the feed: messages of changes, and subscriptions for watchers."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.filter import JobFilter

from .entry import Encoded, Entry, EventPosition, Record
from .read_ports import EventRow, JobRead


class Codec(Protocol):
    """Encodes watch messages. The ledger stores and forwards them without decoding."""

    def encode(self, record: Record) -> Encoded:
        """Return the message of a record, without its position and the time of its commit."""

    def seal(self, encoded: Encoded, cursor: bytes, place: EventPosition) -> bytes:
        """Return the finished message."""

    def open(self, row: EventRow) -> Entry:
        """Return the entry of a stored event."""

    def snapshot(self, read: JobRead, cursor: bytes) -> bytes:
        """Return the message that shows a job as it is; without a cursor when that is empty. Raises JobUnreadable."""

    def unreadable_jobs(self, job_ids: Sequence[str]) -> bytes:
        """Return the message of a snapshot of many jobs that names those that cannot be shown."""

    def merge(self, latest: Entry, earlier: Sequence[Entry], cursor: bytes) -> bytes:
        """Return the message of an entry into which earlier ones of its job were merged; `earlier` may be empty."""

    def left(self, message: bytes) -> bytes:
        """Return the message changed into one that says that a job no longer matches."""

    def bookmark(self, cursor: bytes) -> bytes:
        """Return a message with a cursor only."""


class Subscription(Protocol):
    """One watcher's place in the feed."""

    @property
    def position(self) -> int:
        """Everything up to here was delivered or does not concern the watcher. It never falls."""

    async def next(self, timeout_seconds: float) -> Sequence[Entry]:
        """Return what follows and concerns the watcher, oldest first; nothing when `timeout_seconds` seconds pass.

        While it catches up it may return nothing at once: nothing in the page concerned the watcher. Raises
        HistoryTrimmed, Draining, StoreUnavailable.
        """

    def close(self) -> None:
        """Leave the feed."""


class Stops(MsgStruct, frozen=True):
    """The jobs whose leases a worker must check; `check_all`: all of its leases."""

    job_ids: Sequence[str] = ()
    check_all: bool = False


class StopSubscription(Protocol):
    """One worker's stream of stopped jobs."""

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
        """Follow one job after a position."""

    def subscribe_to_jobs(self, after: int, jobs: JobFilter) -> Subscription:
        """Follow the jobs that match after a position: changes of each that matched before, or matches now."""

    def subscribe_to_stops(self, owner: str, kinds: frozenset[str]) -> StopSubscription:
        """Follow the stops of an owner's jobs of these kinds, of all when empty, from now on."""


class FeedCounts(Protocol):
    """What a feed did since its process started."""

    @property
    def evaluations(self) -> int:
        """How often a filter was applied to an entry that was just committed."""

    @property
    def wakeups(self) -> int:
        """How often a watch received an entry that was just committed."""

    @property
    def history(self) -> int:
        """The number of stored events read for lagging watches."""


class WatchedFeed(Protocol):
    """The figures of a feed."""

    @property
    def counts(self) -> FeedCounts:
        """What it did since the process started."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    @property
    def watchers(self) -> int:
        """The number of open watches."""
