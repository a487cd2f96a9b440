"""Receives few requests at a time: HTTP/2's flow control leaves unread requests at the sender."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from typing import Any, Final, TypeVar

from .call import Context
from .refusals import RequestTimedOut
from .turns import Places, Turns

T = TypeVar("T")

RECEIVE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds after which a request that has not arrived is given up when others wait for its place."""
CHECK_SECONDS: Final = 1.0
LARGE: Final = 16_384
"""The bytes from which a request is read on the thread; smaller ones take less time than the switch."""


class _Slot:
    __slots__ = ("since", "task", "timed_out")

    def __init__(self, task: "asyncio.Task[Any]", since: float) -> None:
        self.task = task
        self.since = since
        self.timed_out = False


class RequestReceiver:
    """Places for requests that are being received; a call without a place waits for one, owners in turn.

    Its holder keeps a place until the request is read: till then it may be in memory several times.
    """

    def __init__(
        self,
        places: int,
        reserve: int = 0,
        timeout_seconds: float = RECEIVE_TIMEOUT_SECONDS,
        max_wait_seconds: float = inf,
    ) -> None:
        self.turns = Turns(places, reserve, max_wait_seconds)
        self._timeout_seconds = timeout_seconds
        self._slots: dict[_Slot, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def take_place(self, owner: str, *, reserved: bool = False) -> Places:
        """Take a place, perhaps after others; raises InFlightFull."""
        if self._timer is None and self.turns.find(owner, reserved=reserved) is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._cancel_slow)
        return await self.turns.take(owner, reserved=reserved)

    async def receive(self, context: Context) -> Any:  # noqa: ANN401  bytes, or gRPC's EOF
        """Return the next request of a call that has a place, EOF when there is none; raises RequestTimedOut."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        slot = _Slot(task, asyncio.get_running_loop().time())
        self._slots[slot] = None
        try:
            return await context.read()
        except asyncio.CancelledError:
            if not slot.timed_out or task.uncancel():
                raise
            raise RequestTimedOut(self._timeout_seconds) from None
        finally:
            del self._slots[slot]

    def _cancel_slow(self) -> None:
        """Give up requests that have not arrived in time, as long as others wait for their places."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self._cancel_slow) if self.turns else None
        for slot in self._slots if self.turns else ():
            if not slot.timed_out and loop.time() - slot.since > self._timeout_seconds:
                slot.timed_out = True
                slot.task.cancel()


class LargeRequests:
    """Reads large requests on a thread, one at a time and owners in turn, so that other calls continue meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "requests")
        self._turns = Turns(1)

    async def read(self, owner: str, read: Callable[[bytes], T], raw: bytes, *, reserved: bool = False) -> T:
        """Return what `read` makes of a request; raises its errors."""
        place = await self._turns.take(owner, reserved=reserved)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, read, raw)
        finally:
            self._turns.release(owner, place)
