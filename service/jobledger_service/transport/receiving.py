"""Receives few requests at a time: HTTP/2's flow control leaves unread requests at the sender."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final, TypeVar

from .call import Context
from .refusals import RequestTimedOut
from .turns import Turns

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

    def __init__(
        self,
        places: int,
        timeout_seconds: float = RECEIVE_TIMEOUT_SECONDS,
        max_wait_seconds: float = inf,
    ) -> None:
        self.places = places
        self._timeout_seconds = timeout_seconds
        self._turns = Turns(places, max(places - max(places // OTHERS_SHARE_DIVISOR, 1), 1), max_wait_seconds)
        self._slots: dict[_Slot, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def receive(
        self, owner: str, context: Context, read: Callable[[Any], Awaitable[T]], *, reserved: bool = False
    ) -> T:
        """Return what is read of a call's request, EOF when there is none; raises RequestTimedOut, InFlightFull.

        The place is held until the request is read: till then it may be in memory several times.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101  a handler is always within one
        if self._timer is None and not self.has_place(owner):
            self._timer = loop.call_later(CHECK_SECONDS, self._cancel_slow)
        await self._turns.take(owner, reserved=reserved)
        try:
            raw = await self._arrive(_Slot(task, loop.time()), context)
            return await read(raw)
        finally:
            self._turns.release(owner)

    def has_place(self, owner: str) -> bool:
        """Whether a request of an owner would be received at once."""
        return self._turns.has_place(owner)

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

    def _cancel_slow(self) -> None:
        """Give up requests that have not arrived in time, as long as others wait for their places."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self._cancel_slow) if self._turns else None
        for slot in self._slots if self._turns else ():
            if not slot.timed_out and loop.time() - slot.since > self._timeout_seconds:
                slot.timed_out = True
                slot.task.cancel()
