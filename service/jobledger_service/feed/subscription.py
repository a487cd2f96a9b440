"""One watcher's place in the feed: a bounded queue while it keeps up, a position in the history when it does not."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from jobledger_service.domain.errors import Draining
from jobledger_service.ledger.entry import Entry

from .page import PAGE_BYTES, Page

JOB_QUEUE = 64
QUEUE = 1_024


class Source(Protocol):
    """What a subscription reads from."""

    @property
    def position(self) -> int:
        """The newest position that is known."""

    @property
    def closing(self) -> bool:
        """Whether all watches are to end."""

    def recent(self, after: int, job_key: str | None) -> Page | None:
        """Return entries after a position from memory; None when it does not reach back so far."""

    async def history(self, after: int, job_key: str | None) -> Page:
        """Return entries after a position from the store; raises HistoryTrimmed."""


class FeedSubscription:
    """Follows one job, or all. Used by one task, on the event loop."""

    def __init__(self, feed: Source, after: int, job_key: str | None, leave: Callable[[], None]) -> None:
        self.job_key = job_key
        self._feed = feed
        self._leave = leave
        self._position = after
        self._queue: deque[Entry] = deque()
        self._most = JOB_QUEUE if job_key else QUEUE
        self._bytes = 0
        self._behind = True
        self._waiter: asyncio.Future[None] | None = None

    @property
    def position(self) -> int:
        """Everything up to here was handed out or did not concern the watcher."""
        if self._behind or self._queue:
            return self._position
        return max(self._position, self._feed.position)

    def offer(self, entry: Entry) -> None:
        """Take an entry that was just committed. A full queue is dropped: the watcher reads on from the history."""
        if self._behind or entry.position <= self._position:
            return
        if len(self._queue) >= self._most or self._bytes >= PAGE_BYTES:
            self._position = self._queue[0].position - 1
            self._queue.clear()
            self._bytes = 0
            self._behind = True
        else:
            self._queue.append(entry)
            self._bytes += entry.size
        self.wake()

    def wake(self) -> None:
        """Let the watcher look up."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self, patience: float) -> Sequence[Entry]:
        """Return what follows, oldest first; nothing after `patience` seconds, or when it was not for this watcher."""
        if self._feed.closing:
            raise Draining
        if self._behind:
            return await self._catch_up()
        if not self._queue:
            await self._wait(patience)
        return self._take()

    async def _wait(self, seconds: float) -> None:
        """Wait for news, by a bare future and a timer: an Event and a timeout were a tenth of a busy server's CPU."""
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

    def _take(self) -> Sequence[Entry]:
        if not self._queue:
            return ()
        entries = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        self._position = entries[-1].position
        return entries

    async def _catch_up(self) -> Sequence[Entry]:
        """Read on: from memory if it reaches back far enough, and then go with the feed; else from the history."""
        recent = self._feed.recent(self._position, self.job_key)
        page = recent or await self._feed.history(self._position, self.job_key)
        self._position = page.through
        self._behind = recent is None or page.through < self._feed.position
        return page.entries

    def close(self) -> None:
        """Leave the feed."""
        self._leave()
