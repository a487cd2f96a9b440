"""The feed of one process: takes commits as they are made, and finds the ones that it missed in the store."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from jobledger_service.domain.errors import Refusal
from jobledger_service.ledger.entry import Entry
from jobledger_service.ledger.feed_ports import Codec
from jobledger_service.ledger.queries import Queries
from jobledger_service.ledger.read_ports import EventsRead, ReadStore

from .page import PAGE, Page
from .pages import Pages
from .ring import Ring
from .subscription import FeedSubscription

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds after which the feed looks for entries of other processes, whatever it heard: a wake-up is a hint."""


class LiveFeed:
    """Fan-out to this process's watchers. Everything but the reading happens on the event loop, without waiting.

    `found` hears of each entry that was not published here but found in the store.
    """

    def __init__(
        self, store: ReadStore, queries: Queries, codec: Codec, found: Callable[[Entry], None], *, sole_writer: bool
    ) -> None:
        self._store = store
        self._queries = queries
        self._codec = codec
        self._found = found
        self._sole_writer = sole_writer
        self._ring = Ring(store.position())
        self._pages = Pages(self._read, self._decode)
        self._of_job: dict[str, set[FeedSubscription]] = {}
        self._of_all: set[FeedSubscription] = set()
        self._hint = asyncio.Event()
        self._watchers = 0
        self.closing = False

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""
        return self._ring.head

    @property
    def watchers(self) -> int:
        """How many subscriptions there are; may be asked on any thread."""
        return self._watchers

    def publish(self, entries: Sequence[Entry]) -> None:
        """Take the entries of a commit. When others committed in between, the gap is read from the store first."""
        if entries and entries[0].position > self._ring.head + 1:
            self._hint.set()
            return
        for entry in entries:
            if entry.position > self._ring.head:
                self._hand_out(entry)

    def _hand_out(self, entry: Entry) -> None:
        self._ring.append(entry)
        for subscription in self._of_job.get(entry.job_key, ()):
            subscription.offer(entry)
        for subscription in self._of_all:
            subscription.offer(entry)

    def hint(self) -> None:
        """Look for entries of other processes soon."""
        self._hint.set()

    def forget(self, through: int) -> None:
        """Drop history that was trimmed."""
        self._ring.forget(through)
        self._pages.forget()

    async def run(self) -> None:
        """Fill the gaps that other processes' commits leave, until cancelled."""
        while True:
            await self._pause()
            try:
                await self._read_on()
            except Refusal as refusal:
                log.warning("the feed cannot read on: %s", refusal)
            except Exception:
                log.exception("the feed cannot read on")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(None if self._sole_writer else POLL):
                await self._hint.wait()
        except TimeoutError:
            pass
        self._hint.clear()

    async def _read_on(self) -> None:
        """Read from the head to the end of the ledger."""
        while True:
            read = await self._read(self._ring.head, PAGE, None)
            entries = self._decode(read)
            self.publish(entries)
            for entry in entries:
                self._found(entry)
            if read.complete:
                return

    def subscribe(self, after: int, job_key: str | None = None) -> FeedSubscription:
        """Follow one job, or all, from a position on."""
        subscription = FeedSubscription(self, after, job_key, lambda: self._leave(subscription))
        self._watchers += 1
        if job_key is None:
            self._of_all.add(subscription)
        else:
            self._of_job.setdefault(job_key, set()).add(subscription)
        return subscription

    def _leave(self, subscription: FeedSubscription) -> None:
        self._watchers -= 1
        if subscription.job_key is None:
            self._of_all.discard(subscription)
            return
        mine = self._of_job.get(subscription.job_key, set())
        mine.discard(subscription)
        if not mine:
            self._of_job.pop(subscription.job_key, None)

    def recent(self, after: int, job_key: str | None) -> Page | None:
        """Return entries after a position from memory; None when it does not reach back so far."""
        return self._ring.after(after, job_key) if self._ring.covers(after) else None

    async def history(self, after: int, job_key: str | None) -> Page:
        """Return entries after a position from the store; raises HistoryTrimmed."""
        return await (self._pages.of_all(after) if job_key is None else self._pages.of_job(after, job_key))

    def close(self) -> None:
        """End all watches: each gets its bookmark and then Draining."""
        self.closing = True
        for subscription in [*self._of_all, *(one for mine in self._of_job.values() for one in mine)]:
            subscription.wake()

    async def _read(self, after: int, limit: int, job_key: str | None) -> EventsRead:
        return await self._queries.run(self._store.events, after, limit, job_key)

    def _decode(self, read: EventsRead) -> list[Entry]:
        return [self._codec.open(row) for row in read.rows]
