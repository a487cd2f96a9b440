"""One watcher's place in the feed: a bounded queue while it keeps up, a position in the history when it does not."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from jobledger_service.core.model.errors import Draining
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.store.entry import Entry

from .counts import FeedCounts
from .page import MAX_PAGE_BYTES, NoProgressError, Page
from .pages import Pages
from .ring import Ring
from .selection import ALL_CHANGES, Selection
from .wakeup import Wakeup

MAX_JOB_QUEUE = 64
MAX_QUEUE = 1_024


class FeedSubscription:
    """Follows one job, or the jobs of one owner that match a filter. Used by one task, on the event loop.

    It reads from `ring`, and what is not there any more from `pages`, `bare` entries without their artifacts; it ends
    when `closing` is set.
    """

    def __init__(
        self,
        ring: Ring,
        pages: Pages,
        closing: asyncio.Event,
        counts: FeedCounts,
        after: int,
        *,
        job_key: str = "",
        jobs: JobFilter | None = None,
        bare: bool = False,
        selection: Selection | None = None,
        unsubscribe: "Callable[[FeedSubscription], None]",
    ) -> None:
        self.job_key = job_key
        self.jobs = jobs
        self.owner = owner_of(job_key) if jobs is None else jobs.events_of
        self._bare = bare
        self._selection = selection or Selection(ALL_CHANGES, jobs, begins_complete=True)
        self._ring = ring
        self._pages = pages
        self._closing = closing
        self._counts = counts
        self._unsubscribe = unsubscribe
        self._position = after
        self._queue: deque[Entry] = deque()
        self._max_queue = MAX_JOB_QUEUE if jobs is None else MAX_QUEUE
        self._bytes = 0
        self._behind = True
        self._wakeup = Wakeup()

    @property
    def position(self) -> int:
        """Everything up to here was delivered or does not concern the watcher. It never falls."""
        if self._behind:
            return self._position
        looked_at = self._queue[0].position - 1 if self._queue else self._ring.head
        return max(self._position, looked_at)

    def offer(self, entry: Entry) -> None:
        """Add an entry that was just committed and concerns the watcher.

        A full queue is dropped: the watcher then reads from the history.
        """
        if self._behind or entry.position <= self._position or not self._selection.may_select(entry):
            return
        self._counts.wakeups += 1
        if len(self._queue) >= self._max_queue or self._bytes >= MAX_PAGE_BYTES:
            self.fall_behind()
        else:
            self._queue.append(entry)
            self._bytes += entry.size
            self._counts.queued_bytes += entry.size
        self.wake()

    def fall_behind(self) -> None:
        """Drop the queue: the watcher then reads from the history, at its position."""
        self._advance(self.position)
        self._clear_queue()
        self._behind = True

    def _clear_queue(self) -> None:
        self._queue.clear()
        self._counts.queued_bytes -= self._bytes
        self._bytes = 0

    def wake(self) -> None:
        """Wake the watcher."""
        self._wakeup.wake()

    async def next(self, timeout_seconds: float) -> Sequence[Entry]:
        """Return what follows, oldest first; nothing after `timeout_seconds`, or when none concerns this watcher."""
        if self._closing.is_set():
            raise Draining
        if self._behind:
            return await self._catch_up()
        if not self._queue:
            await self._wakeup.wait(timeout_seconds)
        return self._drain()

    def _drain(self) -> Sequence[Entry]:
        if not self._queue:
            return ()
        entries = list(self._queue)
        self._clear_queue()
        self._advance(entries[-1].position)
        return self._selection.select(entries)

    async def _catch_up(self) -> Sequence[Entry]:
        """Read from memory if it reaches back far enough, and then follow the feed; else read from the history."""
        if self._ring.covers(self.owner, self._position):
            page = self._ring.after(self._position, self.owner, self.job_key or None)
            self._behind = not page.complete
        else:
            page = await self._stored_page()
        self._advance(page.through)
        if self._behind:
            await asyncio.sleep(0)  # other watchers have their turn between two pages
        return self._selected(page.entries)

    async def next_through(self, end: int) -> Sequence[Entry]:
        """Return what follows, at most to a position that the ledger has reached, and perhaps not this process."""
        if self._closing.is_set():
            raise Draining
        if self._ring.covers(self.owner, self._position) and self._position < self._ring.head:
            page = self._ring.after(self._position, self.owner, self.job_key or None)
        else:
            page = await self._stored_page()
        self._advance(min(page.through, end))
        return self._selected([entry for entry in page.entries if entry.position <= end])

    async def _stored_page(self) -> Page:
        if self.jobs is None:
            return await self._pages.of_job(self._position, self.job_key, bare=self._bare)
        return await self._pages.of_owner(self._position, self.owner, bare=self._bare)

    def _selected(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        jobs = self.jobs
        return self._selection.select(entries if jobs is None else [one for one in entries if one.concerns(jobs)])

    def _advance(self, position: int) -> None:
        if position < self._position:
            raise NoProgressError("a watch", self._position, position)
        self._position = position

    def close(self) -> None:
        """Leave the feed."""
        self._clear_queue()
        self._unsubscribe(self)
