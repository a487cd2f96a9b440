"""One watcher's place in the feed: a bounded queue while it keeps up, a position in the history when it does not."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from jobledger_service.core.model.errors import Draining
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.store.entry import Entry

from .counts import FeedCounts
from .live import Live
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
        self._selects_all = self._selection.selects_all
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
        self._live: Live | None = None
        self._wakeup = Wakeup()

    @property
    def position(self) -> int:
        """Everything up to here was delivered or does not concern the watcher. It never falls."""
        if self._behind:
            return self._position
        looked_at = self._queue[0].position - 1 if self._queue else self._ring.head
        return max(self._position, looked_at)

    def offer(self, entry: Entry, made: dict[bool, bytes]) -> None:
        """Take an entry that was just committed and concerns the watcher: write it at once, or queue it.

        `made` are messages of it that others were given. A full queue is dropped: the watcher then reads from the
        history.
        """
        if self._behind or entry.position <= self._position:
            return
        if not (self._selects_all or self._selection.may_select(entry)):
            return
        self._counts.wakeups += 1
        live = self._live
        if live is not None and not live.writer.is_writing:
            if self._write(live, entry, made):
                return
            self._live = None
        if len(self._queue) >= self._max_queue or self._bytes >= MAX_PAGE_BYTES:
            self.fall_behind()
        else:
            self._queue.append(entry)
            self._bytes += entry.size
            self._counts.queued_bytes += entry.size
        if self._live is None:
            self.wake()
        else:
            self._live.writer.on_written = self._write_next

    async def write_live(self, live: Live) -> None:
        """Write what is committed from `offer` itself, one entry at a time, until this task has something to do.

        That is, what only `next` can return: the watch lags, or an entry is not to be written as it is; and a bookmark,
        or the end. Raises an error when the caller has left.
        """
        if self._behind or self._queue:
            return
        self._live = live
        live.writer.on_failed = self._leave_live
        try:
            while self._live is live and not self._closing.is_set() and (left := live.left()):
                await self._wakeup.wait(left)
        finally:
            self._live = live.writer.on_written = live.writer.on_failed = None
        await live.writer.finish()

    def _write(self, live: Live, entry: Entry, made: dict[bool, bytes]) -> bool:
        """Begin to write an entry, if it is selected; False when that is for the task."""
        if (self._selects_all or self._selection.select((entry,))) and not live.write(entry, made):
            return False
        self._position = entry.position
        return True

    def _write_next(self) -> None:
        """Write the entry that came first while another was written, or leave all of them to the task."""
        live, queue = self._live, self._queue
        while live is not None and queue and not live.writer.is_writing:
            if (live.merges and len(queue) > 1) or not self._write(live, queue[0], {}):
                self._leave_live()
                return
            size = queue.popleft().size
            self._bytes -= size
            self._counts.queued_bytes -= size
        if live is not None and queue:
            live.writer.on_written = self._write_next

    def _leave_live(self) -> None:
        """Have the task do what is to be done."""
        self._live = None
        self.wake()

    def fall_behind(self) -> None:
        """Drop the queue: the watcher then reads from the history, at its position."""
        self._advance(self.position)
        self._clear_queue()
        self._behind = True
        self._live = None

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
