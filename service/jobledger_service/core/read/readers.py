"""Reads on threads: owners take turns on some of them, and the server's own reads have threads of their own.

These turns are their own, because a turn is the time of a read, which is known when it has ended.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from msgspec import Struct as MsgStruct

from jobledger_service.core.current_call import charged_owner
from jobledger_service.core.database.engines import OWNER_THREADS
from jobledger_service.core.model.refusals.limit_errors import TooManyReads
from jobledger_service.core.waits import Waits

P = ParamSpec("P")
R = TypeVar("R")

READS_PER_OWNER: Final = 1_000
"""Lists, batches, large jobs and statistics of one owner that may wait for their turn."""
READ_COST: Final = 0.0005
"""The cost of a read beside its time, in seconds, so that owners of quick reads take turns one by one."""
MAX_SHARING: Final = 64
"""Callers of one read: they get its answer, which may be large, at the same time."""
FORGET_FROM: Final = 64
"""The number of remembered owners at which those without a lead are forgotten."""

OPERATORS: Final = ""
"""The owner of the operators' lists: they take turns with the owners, and no owner has an empty name."""


class Reader:
    """One thread for reads, in the order of their requests."""

    def __init__(self, name: str, waits: Waits) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._waits = waits

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read of the store."""
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[R] = loop.create_future()
        running = loop.run_in_executor(self._thread, partial(read, *args, **kwargs))
        running.add_done_callback(partial(_answer, [caller]))
        try:
            return await self._waits.answer(caller)
        except asyncio.CancelledError:
            running.cancel()
            raise

    def close(self) -> None:
        """Wait for the running read."""
        self._thread.shutdown(wait=True)


def _answer(callers: "Iterable[asyncio.Future[Any]]", done: "asyncio.Future[Any]") -> None:
    """Give the outcome of a read to those who still wait for it."""
    error = None if done.cancelled() else done.exception()
    for caller in callers:
        if caller.done():
            continue
        if error is None:
            caller.set_result(done.result())
        else:
            caller.set_exception(error)


class _PendingRead(MsgStruct):
    """A waiting read, and who asked for it; `shared_key` is what equal reads have in common, None for one of its own.

    A watch's read is not counted, as watches have bounds of their own.
    """

    callers: "list[asyncio.Future[Any]]"
    read: Callable[[], Any]
    counted: bool
    shared_key: Hashable = None


class _Share(MsgStruct):
    """An owner's reads: the waiting ones, and those of them that equal ones may join; what the running ones share.

    Also how many waiting callers count, how many reads run, and the used seconds.
    """

    used: float
    waiting: deque[_PendingRead] = msgspec.field(default_factory=deque)
    shared: dict[Hashable, _PendingRead] = msgspec.field(default_factory=dict)
    shared_running: set[Hashable] = msgspec.field(default_factory=set)
    counted: int = 0
    running: int = 0
    in_line: bool = False


class SharedReaders:
    """Threads on which owners take turns: the owner with the least used seconds is next.

    One owner never has all threads. An owner who was idle has no claim for that time: it starts level with the owner
    who was last in turn.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        limit: int = READS_PER_OWNER,
        clock: Callable[[], float] = monotonic,
        waits: Waits | None = None,
    ) -> None:
        self._waits = waits or Waits()
        self._threads = ThreadPoolExecutor(threads, name)
        self._idle = threads
        self._of_one = max(1, threads - 1)
        self._limit = limit
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self._line: list[tuple[float, str]] = []
        self._turn = 0.0
        self._forget_at = FORGET_FROM

    async def run(self, owner: str, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read in the turn of who calls, or else of `owner`; raises TooManyReads when too many wait."""
        return await self._submit(charged_owner(owner), partial(read, *args, **kwargs), counted=True)

    async def run_shared(self, owner: str, shared_key: Hashable, read: Callable[[], R]) -> R:
        """Run one read for the calls with this `shared_key` that wait together, after all of them began to wait.

        While such a read runs, later calls wait for the next one, so that they come together.
        """
        return await self._submit(charged_owner(owner), read, counted=True, shared_key=shared_key)

    async def run_for_watch(self, owner: str, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read of an owner's watch in its turn; any number of them may wait."""
        return await self._submit(owner, partial(read, *args, **kwargs), counted=False)

    async def run_for_watches(self, owner: str, shared_key: Hashable, read: Callable[[], R]) -> R:
        """Run one read for the watches with this `shared_key` that wait together, after all of them began to wait."""
        return await self._submit(owner, read, counted=False, shared_key=shared_key)

    def close(self) -> None:
        """Wait for the running reads."""
        self._threads.shutdown(wait=True)

    async def _submit(self, owner: str, read: Callable[[], R], *, counted: bool, shared_key: Hashable = None) -> R:
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = _Share(self._turn)
        if counted and share.counted >= self._limit:
            raise TooManyReads(owner, self._limit)
        caller: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        share.counted += counted
        pending = share.shared.get(shared_key)
        if pending is None or len(pending.callers) >= MAX_SHARING:
            pending = _PendingRead([], read, counted, shared_key)
            share.waiting.append(pending)
            if shared_key is not None:
                share.shared[shared_key] = pending
        pending.callers.append(caller)
        self._line_up(owner, share)
        self._start()
        return await self._waits.answer(caller)

    def _line_up(self, owner: str, share: _Share) -> None:
        if not share.in_line and share.running < self._of_one and _next_place(share) is not None:
            share.in_line = True
            share.used = max(share.used, self._turn)
            heapq.heappush(self._line, (share.used, owner))

    def _start(self) -> None:
        """Start reads on all idle threads."""
        while self._idle and self._line:
            used, owner = heapq.heappop(self._line)
            share = self._shares[owner]
            if share.used > used:  # a read of this owner that ended meanwhile counts too
                heapq.heappush(self._line, (share.used, owner))
                continue
            share.in_line = False
            self._turn = used
            pending = _next_of(share)
            if pending is not None:
                self._begin(owner, share, pending)
            self._line_up(owner, share)

    def _begin(self, owner: str, share: _Share, pending: _PendingRead) -> None:
        self._idle -= 1
        share.running += 1
        share.used += READ_COST
        if pending.shared_key is not None:
            share.shared_running.add(pending.shared_key)
        running = asyncio.get_running_loop().run_in_executor(self._threads, pending.read)
        running.add_done_callback(partial(self._end, owner, share, pending, self._clock()))

    def _end(self, owner: str, share: _Share, pending: _PendingRead, begun: float, done: "asyncio.Future[Any]") -> None:
        self._idle += 1
        share.running -= 1
        share.used += self._clock() - begun
        share.shared_running.discard(pending.shared_key)
        _answer(pending.callers, done)
        self._line_up(owner, share)
        self._forget()
        self._start()

    def _forget(self) -> None:
        """Forget owners without reads and without a lead, from time to time."""
        if len(self._shares) < self._forget_at:
            return
        kept = self._shares.items()
        self._shares = {o: s for o, s in kept if s.waiting or s.running or s.used > self._turn}
        self._forget_at = max(FORGET_FROM, 2 * len(self._shares))


def _next_place(share: _Share) -> int | None:
    """Return the place of the next read; None when all that wait are equal to running ones."""
    running = share.shared_running
    return next((place for place, pending in enumerate(share.waiting) if pending.shared_key not in running), None)


def _next_of(share: _Share) -> _PendingRead | None:
    """Take the next of an owner's reads of whose callers one is still there."""
    while (place := _next_place(share)) is not None:
        pending = share.waiting[place]
        del share.waiting[place]
        share.counted -= pending.counted * len(pending.callers)
        if share.shared.get(pending.shared_key) is pending:
            del share.shared[pending.shared_key]
        if not all(caller.done() for caller in pending.callers):
            return pending
    return None


class Readers:
    """The threads on which a server reads. Each read raises StoreUnavailable when the database is away.

    Owners take turns on some; small single jobs of all owners, the server's own reads and its feed wait for no owner.
    """

    def __init__(self, waits: Waits | None = None) -> None:
        waits = waits or Waits()
        self._owners = SharedReaders("owners", OWNER_THREADS, READS_PER_OWNER, waits=waits)
        self._single_jobs, self._server, self._feed = (
            Reader(name, waits) for name in ("single jobs", "duties", "feed")
        )
        self.for_owner = self._owners.run
        self.for_equal_calls = self._owners.run_shared
        self.for_watch = self._owners.run_for_watch
        self.for_equal_watches = self._owners.run_for_watches
        self.for_single_jobs = self._single_jobs.run
        self.for_server = self._server.run
        """Of a duty, of keys, of its health."""
        self.for_feed = self._feed.run

    def close(self) -> None:
        """Wait for the running reads."""
        for reader in (self._owners, self._single_jobs, self._server, self._feed):
            reader.close()
