"""One watcher's place in the feed: a bounded queue while it keeps up, a position in the history when it does not."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.refusals.errors import Draining, HistoryLost, HistoryTrimmed

from .pages import MAX_PAGE_BYTES, NoProgressError, Page, Pages
from .ring import Ring
from .selection import ALL_CHANGES, Selection

MAX_JOB_QUEUE = 64
MAX_QUEUE = 1_024
MAX_STOP_QUEUE = 2_000
"""A job that stops has up to two entries: the request, and its end."""
FEW_ENTRIES = 8
"""Entries that are read, and of which messages are made, without a turn: that takes longer."""


class FeedCounts(MsgStruct):
    """What the feed did since the process started, and what waits; plain numbers that any thread may read."""

    evaluations: int = 0
    """How often a filter was applied to an entry."""
    wakeups: int = 0
    """How often a watch received an entry that was just committed."""
    history: int = 0
    """The number of stored events read for lagging watches."""
    queued_bytes: int = 0
    """Bytes of entries that wait in the queues of watches."""


class Wakeup:
    """Lets one task wait. A wake-up while nobody waits does nothing: the waiter checks before it waits."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the task."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait with a bare future and a timer: an Event and a timeout took a tenth of a server's CPU."""
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None


class Writer(Protocol):
    """Writes the messages of one stream, one at a time.

    `on_written` is called once, when the message that was begun is written; `on_failed` when the caller has left.
    """

    is_writing: bool
    on_written: Callable[[], None] | None
    on_failed: Callable[[], None] | None

    def begin(self, message: bytes) -> bool:
        """Begin to write a message, when none is being written; return False when there is no room for it."""

    async def finish(self) -> None:
        """Wait until what was begun is written; raises an error when the caller has left."""


class BookmarkTimer:
    """The time of a quiet stream's next bookmark; `last_sent` is the time of its last message."""

    __slots__ = ("_every", "last_sent")

    def __init__(self, every: float) -> None:
        self._every = every
        self.last_sent = monotonic()

    def seconds_left(self) -> float:
        """Return the time until the next bookmark is due."""
        return max(self.last_sent + self._every - monotonic(), 0.0)

    def due(self) -> bool:
        """Whether a bookmark is due now."""
        return self.seconds_left() <= 0

    def restart(self) -> None:
        """Record that a message was sent."""
        self.last_sent = monotonic()


class OutgoingEntry:
    """An entry that was just committed, on its way to the watchers that it reaches by one route.

    `messages` are those that were made of it, by the kind of watch: also a watch whose last message is not yet written
    finds them later. One time is enough for all.
    """

    __slots__ = ("entry", "messages", "size", "time")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.size = entry.size
        self.messages: dict[bool, bytes] = {}
        self.time = monotonic()


class Live:
    """How a current watch writes: entry by entry as they are committed, while its task sleeps.

    `make` makes the message of an entry. It returns None for an entry that the task must see, as the watch ends with
    it. `merges`: so must it see entries that came while one was written, if they are several. `kind`: watches that an
    entry reaches by the same route, and that have the same kind, have the same message of it.
    """

    __slots__ = ("_make", "kind", "merges", "timer", "writer")

    def __init__(
        self, writer: Writer, timer: BookmarkTimer, make: Callable[[Entry], bytes | None], *, kind: bool, merges: bool
    ) -> None:
        self.writer = writer
        self.timer = timer
        self.merges = merges
        self.kind = kind
        self._make = make

    def make(self, outgoing: OutgoingEntry) -> bytes | None:
        """Make the message of an entry for all watches of this kind; None for the task's."""
        try:
            message = self._make(outgoing.entry)
        except Exception:  # noqa: BLE001  the task will have it too, and report it
            return None
        if message is not None:
            outgoing.messages[self.kind] = message
        return message


class FeedSubscription:
    """Follows one job, or the jobs of `owners` that match a filter. Used by one task, on the event loop.

    Without `owners` the filter names them. It reads from `ring`, and what is not there any more from `pages`, `bare`
    entries without their artifacts; it ends when `closing` is set. With `stops_only` it is offered entries that may end
    leases, and has no history: it begins with the feed, and raises HistoryTrimmed when it lags.
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
        owners: Sequence[str] = (),
        stops_only: bool = False,
        bare: bool = False,
        selection: Selection | None = None,
        unsubscribe: "Callable[[FeedSubscription], None]",
    ) -> None:
        self.job_key = job_key
        self.jobs = jobs
        self.owner = owner_of(job_key) if jobs is None else jobs.events_of
        self.owners = owners or (self.owner,)
        self.stops_only = stops_only
        self._bare = bare
        self._selection = selection or Selection(ALL_CHANGES, jobs, begins_complete=True)
        self._selects_all = self._selection.selects_all
        self._ring = ring
        self._pages = pages
        self._closing = closing
        self._counts = counts
        self._unsubscribe = unsubscribe
        self._position = after
        self._queue: deque[OutgoingEntry] = deque()
        self._max_queue = MAX_JOB_QUEUE if jobs is None else MAX_STOP_QUEUE if stops_only else MAX_QUEUE
        self._bytes = 0
        self._behind = not stops_only
        self._is_lost = False
        self._live: Live | None = None
        self._wakeup = Wakeup()

    @property
    def position(self) -> int:
        """Everything up to here was delivered or does not concern the watcher. It never falls."""
        if self._behind:
            return self._position
        looked_at = self._queue[0].entry.position - 1 if self._queue else self._ring.head
        return max(self._position, looked_at)

    def offer(self, outgoing: OutgoingEntry) -> None:
        """Take an entry that was just committed and concerns the watcher: write it at once, or queue it.

        A full queue is dropped: the watcher then reads from the history.
        """
        entry = outgoing.entry
        if self._behind or entry.position <= self._position:
            return
        if not (self._selects_all or self._selection.may_select(entry)):
            return
        self._counts.wakeups += 1
        live = self._live
        if live is not None and not live.writer.is_writing:
            if self._write(live, outgoing):
                return
            self._live = None
        if len(self._queue) >= self._max_queue or self._bytes >= MAX_PAGE_BYTES:
            self.fall_behind()
        else:
            self._queue.append(outgoing)
            self._bytes += outgoing.size
            self._counts.queued_bytes += outgoing.size
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
            while self._live is live and not self._closing.is_set() and (seconds := live.timer.seconds_left()):
                await self._wakeup.wait(seconds)
        finally:
            self._live = live.writer.on_written = live.writer.on_failed = None
        await live.writer.finish()

    def _write(self, live: Live, outgoing: OutgoingEntry) -> bool:
        """Begin to write an entry, if it is selected; False when that is for the task, which also waits for room."""
        entry = outgoing.entry
        if self._selects_all or self._selection.select((entry,)):
            message = outgoing.messages.get(live.kind) or live.make(outgoing)
            if message is None or not live.writer.begin(message):
                return False
            live.timer.last_sent = outgoing.time
        self._position = entry.position
        return True

    def _write_next(self) -> None:
        """Write the entry that came first while another was written, or leave all of them to the task."""
        live, queue = self._live, self._queue
        while live is not None and queue and not live.writer.is_writing:
            if (live.merges and len(queue) > 1) or not self._write(live, queue[0]):
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

    def lose(self) -> None:
        """End with HistoryLost: the database lost the end of the history."""
        self._is_lost = True
        self.fall_behind()
        self.wake()

    def check_kept(self) -> None:
        """Raise HistoryLost when the database has lost the end of the history."""
        if self._is_lost:
            raise HistoryLost

    def _clear_queue(self) -> None:
        self._queue.clear()
        self._counts.queued_bytes -= self._bytes
        self._bytes = 0

    def wake(self) -> None:
        """Wake the watcher."""
        self._wakeup.wake()

    async def next(self, timeout_seconds: float) -> Sequence[Entry]:
        """Return what follows, oldest first; nothing after `timeout_seconds`, or when none concerns this watcher.

        Raises HistoryLost, HistoryTrimmed, Draining.
        """
        self._check_open()
        if not (self._behind or self._queue):
            await self._wakeup.wait(timeout_seconds)
            self._check_open()
        return await self._catch_up() if self._behind else self.drain()

    def _check_open(self) -> None:
        self.check_kept()
        if self._closing.is_set():
            raise Draining

    def drain(self) -> Sequence[Entry]:
        """Return what is queued."""
        if not self._queue:
            return ()
        entries = [outgoing.entry for outgoing in self._queue]
        self._clear_queue()
        self._advance(entries[-1].position)
        return self._selection.select(entries)

    async def _catch_up(self) -> Sequence[Entry]:
        """Read from memory if it reaches back far enough, and then follow the feed; else read from the history."""
        if self.stops_only:
            raise HistoryTrimmed(self._ring.head)
        await self._turn()
        if self._ring.covers(self.owner, self._position):
            page = self._ring.after(self._position, self.owner, self.job_key or None)
            self._behind = not page.complete
        else:
            page = await self._stored_page()
        self._advance(page.through)
        return self._selected(page.entries)

    async def next_through(self, end: int) -> Sequence[Entry]:
        """Return what follows, at most to a position that the ledger has reached, and perhaps not this process."""
        self._check_open()
        await self._turn()
        if self._ring.covers(self.owner, self._position) and self._position < self._ring.head:
            page = self._ring.after(self._position, self.owner, self.job_key or None)
        else:
            page = await self._stored_page()
        self._advance(min(page.through, end))
        return self._selected([entry for entry in page.entries if entry.position <= end])

    async def _turn(self) -> None:
        """Wait for a turn to read a page and make messages of it, unless it is surely a small one."""
        if self._ring.head - self._position > FEW_ENTRIES:
            await self._pages.loop_turns.next(self.owner)
            self.check_kept()

    async def _stored_page(self) -> Page:
        if self.jobs is None:
            page = await self._pages.of_job(self._position, self.job_key, bare=self._bare)
        else:
            page = await self._pages.of_owner(self._position, self.owner, bare=self._bare)
        self.check_kept()  # the page may be of either history
        return page

    def _selected(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        if (jobs := self.jobs) is not None:
            entries = [entry for entry in entries if entry.concerns(jobs)]
        return self._selection.select(entries)

    def _advance(self, position: int) -> None:
        if position < self._position:
            raise NoProgressError("a watch", self._position, position)
        self._position = position

    def close(self) -> None:
        """Leave the feed."""
        self._clear_queue()
        self._unsubscribe(self)
