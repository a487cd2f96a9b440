"""Receives few requests at a time: HTTP/2's flow control leaves unread requests at the sender."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from .call import Context
from .refusals import RequestTimedOut

T = TypeVar("T")

RECEIVE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds after which a request that has not arrived is given up when others wait for its place."""
CHECK_SECONDS: Final = 1.0
OTHERS_SHARE_DIVISOR: Final = 4
"""The part of all places, 1 / OTHERS_SHARE_DIVISOR, that one owner leaves to others."""


class _Slot:
    __slots__ = ("since", "task", "timed_out")

    def __init__(self, task: "asyncio.Task[Any]", since: float) -> None:
        self.task = task
        self.since = since
        self.timed_out = False


class RequestReceiver:
    """Places for requests that are being received; a call without a place waits for one, owners in turn."""

    def __init__(self, slots: int, timeout_seconds: float = RECEIVE_TIMEOUT_SECONDS) -> None:
        self.places = slots
        self._timeout_seconds = timeout_seconds
        self._free = slots
        self._max_of_owner = max(slots - max(slots // OTHERS_SHARE_DIVISOR, 1), 1)
        self._held: dict[str, int] = {}
        self._slots: dict[_Slot, None] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, owner: str, context: Context, read: Callable[[Any], Awaitable[T]]) -> T:
        """Return what is read of a call's request, EOF when there is none; raises RequestTimedOut.

        The place is held until the request is read: till then it may be in memory several times.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        if self.has_slot(owner):
            self._occupy(owner)
        else:
            await self._wait(owner)
        slot = _Slot(task, asyncio.get_running_loop().time())
        try:
            raw = await self._arrive(slot, context)
            return await read(raw)
        finally:
            self._release(owner)

    async def _arrive(self, place: _Slot, context: Context) -> Any:  # noqa: ANN401  bytes, or gRPC's EOF
        self._slots[place] = None
        try:
            return await context.read()
        except asyncio.CancelledError:
            if not place.timed_out or place.task.uncancel():
                raise
            raise RequestTimedOut(self._timeout_seconds) from None
        finally:
            del self._slots[place]

    def has_slot(self, owner: str) -> bool:
        """Whether a request of an owner would be received at once."""
        return self._free > 0 and self._held.get(owner, 0) < self._max_of_owner

    def _occupy(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    async def _wait(self, owner: str) -> None:
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(granted)
        if self._timer is None:
            self._timer = loop.call_later(CHECK_SECONDS, self._cancel_slow)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._release(owner)
            raise

    def _release(self, owner: str) -> None:
        self._free += 1
        left = self._held.pop(owner) - 1
        if left:
            self._held[owner] = left
        if self._waiting:
            self._grant_next()

    def _grant_next(self) -> None:
        """Give the free place to the next owner who waits and may have it."""
        for owner, waiting in list(self._waiting.items()):
            while waiting and waiting[0].done():
                waiting.popleft()  # its call has ended
            if waiting and self.has_slot(owner):
                self._occupy(owner)
                waiting.popleft().set_result(None)
                self._waiting.move_to_end(owner)
            if not waiting:
                del self._waiting[owner]
            if not self._free:
                return

    def _cancel_slow(self) -> None:
        """Give up requests that have not arrived in time, as long as others wait for their places."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self._cancel_slow) if self._waiting else None
        for slot in self._slots if self._waiting else ():
            if not slot.timed_out and loop.time() - slot.since > self._timeout_seconds:
                slot.timed_out = True
                slot.task.cancel()
