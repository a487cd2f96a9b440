"""What the ledger needs to show changes: messages, and a feed that hands them to watchers."""

from collections.abc import Sequence
from typing import Protocol

from .entry import Encoded, Entry, Record
from .read_ports import EventRow, JobRead


class Codec(Protocol):
    """Makes watch messages. The ledger stores and forwards them without looking inside."""

    def encode(self, record: Record) -> Encoded:
        """Return the message of a record, without its position."""

    def seal(self, encoded: Encoded, cursor: bytes, position: int) -> bytes:
        """Return the finished message."""

    def open(self, row: EventRow) -> Entry:
        """Return the entry of a stored event."""

    def snapshot(self, read: JobRead, cursor: bytes) -> bytes:
        """Return the message that shows a job as it is; without a cursor when that is empty."""

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
        """Everything up to here was handed out or did not concern the watcher."""

    async def next(self, patience: float) -> Sequence[Entry]:
        """Return what follows, oldest first; nothing when `patience` seconds pass or there is news that is not for it.

        Raises HistoryTrimmed, Draining, StoreUnavailable.
        """

    def close(self) -> None:
        """Leave the feed."""


class Feed(Protocol):
    """Hands entries to watchers."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    def subscribe(self, after: int, job_key: str | None = None) -> Subscription:
        """Follow one job, or all, from a position on."""


class WatchedFeed(Protocol):
    """What can be seen of the feed from outside."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    @property
    def watchers(self) -> int:
        """How many watches are open."""
