"""Receives few requests at a time, owners in turn: HTTP/2's flow control leaves unread requests at the sender.

Reports on held leases have a reserve of places.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

from .methods import Context
from .refusals import InFlightFull, RequestTimedOut

T = TypeVar("T")

RECEIVE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds after which a request that has not arrived is given up when others wait for its place."""
CHECK_SECONDS: Final = 1.0
LARGE: Final = 16_384
"""The bytes from which a request is read on the thread; smaller ones take less time than the switch."""


class Places:
    """A number of places. An owner's second and later ones leave at least as many free as it then holds.

    N owners at their maximum so leave places to others: of 6 the first has 3, and three more have one each.
    """

    __slots__ = ("_held", "count", "free")

    def __init__(self, count: int) -> None:
        self.count = self.free = count
        self._held: dict[str, int] = {}

    def take(self, owner: str) -> bool:
        """Take a place for an owner, if it may have one more; return whether it may."""
        held = self._held.get(owner, 0)
        if self.free <= (held + 1 if held else 0):
            return False
        self.free -= 1
        self._held[owner] = held + 1
        return True

    def release(self, owner: str) -> None:
        """Give a place back."""
        self.free += 1
        left = self._held.pop(owner) - 1
        if left:
            self._held[owner] = left


class _Waiting(NamedTuple):
    granted: "asyncio.Future[Places]"
    since: float


class Turns:
    """Places for all calls, and a reserve for reports on held leases; who finds none waits, owners in turn.

    Reports wait in a line of their own, which has turns of its own. Another call is refused when the oldest call of its
    line has waited for `max_wait_seconds`.
    """

    def __init__(self, places: int, reserve: int = 0, max_wait_seconds: float = inf) -> None:
        self.places = Places(places)
        self.reserve = Places(reserve)
        self._max_wait_seconds = max_wait_seconds
        self._lines: OrderedDict[tuple[str, bool], deque[_Waiting]] = OrderedDict()

    def take_free(self, owner: str, *, reserved: bool = False) -> Places | None:
        """Take a place that the owner may have at once and return where it is, None when there is none."""
        if self.places.take(owner):
            return self.places
        return self.reserve if reserved and self.reserve.take(owner) else None

    async def take(self, owner: str, *, reserved: bool = False) -> Places:
        """Take a place, perhaps after others, and return where it is; raises InFlightFull."""
        return self.take_free(owner, reserved=reserved) or await self._wait(owner, reserved=reserved)

    def release(self, owner: str, places: Places) -> None:
        """Give a place back, to the next one who waits."""
        places.release(owner)
        if self._lines:
            self._grant_next()

    async def _wait(self, owner: str, *, reserved: bool) -> Places:
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault((owner, reserved), deque())
        _drop_ended(line)
        if line and not reserved and loop.time() - line[0].since > self._max_wait_seconds:
            raise InFlightFull("receiving")
        granted: asyncio.Future[Places] = loop.create_future()
        line.append(_Waiting(granted, loop.time()))
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(owner, granted.result())
            raise

    def _grant_next(self) -> None:
        """Give the place that came free to the next line that waits and whose owner may have it."""
        for (owner, reserved), line in list(self._lines.items()):
            _drop_ended(line)
            found = self.take_free(owner, reserved=reserved) if line else None
            if found is not None:
                line.popleft().granted.set_result(found)
                self._lines.move_to_end((owner, reserved))
            if not line:
                del self._lines[owner, reserved]
            if found is not None:
                return


def _drop_ended(line: deque[_Waiting]) -> None:
    """Drop the first of those that wait, as far as their calls have ended."""
    while line and line[0].granted.done():
        line.popleft()


class _Slot:
    __slots__ = ("since", "task", "timed_out")

    def __init__(self, task: "asyncio.Task[Any]", since: float) -> None:
        self.task = task
        self.since = since
        self.timed_out = False


class RequestReceiver(Turns):
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
        super().__init__(places, reserve, max_wait_seconds)
        self._timeout_seconds = timeout_seconds
        self._slots: dict[_Slot, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def _wait(self, owner: str, *, reserved: bool) -> Places:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._cancel_slow)
        return await super()._wait(owner, reserved=reserved)

    async def receive(self, context: Context) -> Any:  # noqa: ANN401  bytes, or gRPC's EOF
        """Return the next request of a call that has a place, EOF when there is none; raises RequestTimedOut."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        slot = _Slot(task, time.monotonic())
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
        waits, now = bool(self._lines), time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._cancel_slow) if waits else None
        for slot in self._slots if waits else ():
            if not slot.timed_out and now - slot.since > self._timeout_seconds:
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
