"""The feed of one process: publishes its commits, and reads those of other processes from the store."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from jobledger_service.core.codec import Codec
from jobledger_service.core.database.history import Loss
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.history.terms import Terms
from jobledger_service.core.model.refusals.errors import Refusal, StoreUnavailable
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.read.reading import ReadStore

from .pages import MAX_PAGE_ENTRIES, NoProgressError, Page, Pages
from .ring import Ring
from .selection import Selection
from .subscribers import Subscribers
from .subscription import FeedCounts, FeedSubscription

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
"""Seconds after which the feed reads entries of other processes: a wake-up is a hint."""


class LiveFeed:
    """Fan-out to this process's watchers.

    Everything but the reading happens on the event loop, without waiting. `on_remote_entry` is called with each entry
    that other processes committed.
    """

    def __init__(
        self,
        store: ReadStore,
        readers: Readers,
        codec: Codec,
        on_remote_entry: Callable[[Entry], None],
        *,
        sole_writer: bool,
    ) -> None:
        self._store = store
        self._readers = readers
        self._codec = codec
        self._on_remote_entry = on_remote_entry
        self._sole_writer = sole_writer
        self._ring = Ring(store.position())
        self.terms = store.history.terms
        """The terms of all positions that watchers have been shown, or will be before these change."""
        self.losses = 0
        """How often the database has lost the end of its history, as far as this process's watchers know."""
        self.on_loss: list[Callable[[], object]] = []
        """What is called after each of these times."""
        self._pages = Pages(self._load_history)
        self.counts = FeedCounts()
        self._subscribers = Subscribers(self.counts)
        self._hint = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""
        return self._ring.head

    @property
    def watchers(self) -> int:
        """The number of subscriptions; any thread may read it."""
        return len(self._subscribers)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Publish the entries of a commit. When others committed in between, the gap is read from the store first."""
        if entries and entries[0].position > self._ring.head + 1:
            self._hint.set()
            return
        self._dispatch(entries)

    def _dispatch(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.position > self._ring.head:
                self._subscribers.publish(self._ring.append(entry))

    def hint(self) -> None:
        """Read entries of other processes soon."""
        self._hint.set()

    def forget(self, through: int) -> None:
        """Drop history that was trimmed."""
        self._ring.forget(through)
        self._pages.forget()

    def change_history(self, terms: Terms, loss: Loss | None) -> None:
        """Go on with the terms of an exchanged database; all watches end with HistoryLost if it lost anything."""
        self.terms = terms
        if loss is None:
            return
        self.losses += 1
        self._ring.reset_to(loss.kept)
        self._pages.forget()
        for subscription in self._subscribers:
            subscription.lose()
        self._hint.set()
        for notify in self.on_loss:
            notify()

    def check_unbroken(self, losses: int) -> None:
        """Raise StoreUnavailable if the database lost anything since `losses` was read: what was read is mixed."""
        if losses != self.losses:
            raise StoreUnavailable

    async def run(self) -> None:
        """Fill the gaps that other processes' commits leave, until cancelled."""
        while True:
            await self._pause()
            try:
                await self._catch_up()
            except Refusal as refusal:
                log.warning("the feed cannot continue reading", why=str(refusal))
            except Exception:
                log.exception("the feed cannot continue reading")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(None if self._sole_writer else POLL_SECONDS):
                await self._hint.wait()
        except TimeoutError:
            pass
        self._hint.clear()

    async def _catch_up(self) -> None:
        """Read from the head to the end of the ledger."""
        while True:
            # decoded on the reader's thread, so that large events do not hold up the event loop
            losses = self.losses
            page = await self._readers.for_feed(self._read, self._ring.head)
            if losses != self.losses:
                continue
            if page.trimmed > self._ring.head:
                self._skip(page.trimmed)
            self._dispatch(page.entries)
            self._ring.advance_to(page.through)
            for entry in page.entries:
                self._on_remote_entry(entry)
            if page.complete:
                return
            if self._ring.head <= page.after:
                raise NoProgressError("the feed", page.after, page.through)

    def _skip(self, trimmed: int) -> None:
        """Continue after history that others trimmed before it was read here; watchers get HistoryTrimmed."""
        log.warning("history was trimmed before the feed had read it", last=trimmed)
        for subscription in self._subscribers:
            subscription.fall_behind()
            subscription.wake()
        self._ring.reset_to(trimmed)

    def subscribe(
        self,
        after: int,
        *,
        job_key: str = "",
        jobs: JobFilter | None = None,
        owners: Sequence[str] = (),
        stops_only: bool = False,
        bare: bool = False,
        selection: Selection | None = None,
    ) -> FeedSubscription:
        """Follow one job, or the jobs that match, after a position; `bare` entries of the history lack artifacts.

        With `owners` the jobs are those of these owners alone; with `stops_only` only what may end leases, from now on.
        """
        subscription = FeedSubscription(
            self._ring,
            self._pages,
            self._closing,
            self.counts,
            after,
            job_key=job_key,
            jobs=jobs,
            owners=owners,
            stops_only=stops_only,
            bare=bare,
            selection=selection,
            unsubscribe=self._subscribers.remove,
        )
        self._subscribers.add(subscription)
        return subscription

    def close(self) -> None:
        """End all watches: each gets its bookmark and then Draining."""
        self._closing.set()
        for subscription in self._subscribers:
            subscription.wake()

    async def _load_history(self, after: int, owner: str, job_key: str | None, bare: bool) -> Page:  # noqa: FBT001  as Load
        """Read for lagging watches of one owner or one job, in the owner's turn."""
        page = await self._readers.for_watch(owner, self._read, after, owner, job_key, bare)
        self.counts.history += len(page.entries)
        return page

    def _read(self, after: int, owner: str | None = None, job_key: str | None = None, bare: bool = False) -> Page:  # noqa: FBT001, FBT002  given by position to a thread
        read = self._store.events(after, MAX_PAGE_ENTRIES, owner=owner or None, job_key=job_key, bare=bare)
        entries = [self._codec.open(row) for row in read.rows]
        return Page(entries, after, read.through, read.trimmed, read.complete)
