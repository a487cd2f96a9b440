"""Reads on threads: owners take turns on some of them, and what the server itself needs has threads of its own."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from msgspec import Struct as MsgStruct

from jobledger_service.core.model.limit_errors import TooManyReads

P = ParamSpec("P")
R = TypeVar("R")

OWNER_THREADS: Final = 3
"""Threads on which owners take turns. One is always left to the others, whatever a single owner asks for."""
READS_PER_OWNER: Final = 1_000
READ_COST: Final = 0.0005
"""Seconds that a read costs beside its time, so that owners of quick reads take turns one by one."""
FORGET_FROM: Final = 64
"""Owners who are remembered before those who are not ahead of anybody are forgotten."""


class Reader:
    """One thread that reads, in the order in which it is asked."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out a read of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(read, *args, **kwargs))

    def close(self) -> None:
        """Let the read that runs finish."""
        self._thread.shutdown(wait=True)


class _PendingRead(MsgStruct):
    """A read whose turn has not come; a watch's is not counted, as watches have bounds of their own."""

    caller: "asyncio.Future[Any]"
    read: Callable[[], Any]
    counted: bool


class _Share(MsgStruct):
    """An owner's reads: those that wait, how many of them are counted, how many run, and the seconds he has used."""

    used: float
    waiting: deque[_PendingRead] = msgspec.field(default_factory=deque)
    counted: int = 0
    running: int = 0
    in_line: bool = False


class SharedReaders:
    """Threads on which owners take turns: the one who has used them least is next, by seconds.

    One owner never has all threads. An owner who was away is not owed for it: he begins where the one stands who was
    last in turn.
    """

    def __init__(
        self, name: str, threads: int, limit: int = READS_PER_OWNER, clock: Callable[[], float] = monotonic
    ) -> None:
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
        """Carry out an owner's read when it is his turn; raises TooManyReads when as many of his wait as may."""
        return await self._submit(owner, partial(read, *args, **kwargs), counted=True)

    async def run_for_watch(self, owner: str, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out a read of an owner's watch when it is his turn; any number of them may wait."""
        return await self._submit(owner, partial(read, *args, **kwargs), counted=False)

    def close(self) -> None:
        """Let the reads that run finish."""
        self._threads.shutdown(wait=True)

    async def _submit(self, owner: str, read: Callable[[], R], *, counted: bool) -> R:
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = _Share(self._turn)
        if counted and share.counted >= self._limit:
            raise TooManyReads(owner, self._limit)
        caller: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        share.waiting.append(_PendingRead(caller, read, counted))
        share.counted += counted
        self._line_up(owner, share)
        self._start()
        return await caller

    def _line_up(self, owner: str, share: _Share) -> None:
        if share.waiting and not share.in_line and share.running < self._of_one:
            share.in_line = True
            share.used = max(share.used, self._turn)
            heapq.heappush(self._line, (share.used, owner))

    def _start(self) -> None:
        """Begin reads, as many as there are idle threads."""
        while self._idle and self._line:
            used, owner = heapq.heappop(self._line)
            share = self._shares[owner]
            if share.used > used:  # a read of his that ended meanwhile counts too
                heapq.heappush(self._line, (share.used, owner))
                continue
            share.in_line = False
            self._turn = used
            one = _next_of(share)
            if one is not None:
                self._begin(owner, share, one)
            self._line_up(owner, share)

    def _begin(self, owner: str, share: _Share, one: _PendingRead) -> None:
        self._idle -= 1
        share.running += 1
        share.used += READ_COST
        running = asyncio.get_running_loop().run_in_executor(self._threads, one.read)
        running.add_done_callback(partial(self._end, owner, share, one, self._clock()))

    def _end(self, owner: str, share: _Share, one: _PendingRead, begun: float, done: "asyncio.Future[Any]") -> None:
        self._idle += 1
        share.running -= 1
        share.used += self._clock() - begun
        error = done.exception()
        if not one.caller.done():
            if error is None:
                one.caller.set_result(done.result())
            else:
                one.caller.set_exception(error)
        self._line_up(owner, share)
        self._forget()
        self._start()

    def _forget(self) -> None:
        """Forget owners who want nothing and are not ahead of anybody, now and then."""
        if len(self._shares) < self._forget_at:
            return
        kept = self._shares.items()
        self._shares = {o: s for o, s in kept if s.waiting or s.running or s.used > self._turn}
        self._forget_at = max(FORGET_FROM, 2 * len(self._shares))


def _next_of(share: _Share) -> _PendingRead | None:
    """Take the first of an owner's reads whose caller is still there."""
    while share.waiting:
        one = share.waiting.popleft()
        share.counted -= one.counted
        if not one.caller.done():
            return one
    return None
