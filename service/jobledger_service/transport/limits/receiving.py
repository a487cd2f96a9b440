"""Receives few requests at a time, owners in turn: HTTP/2's flow control leaves unread requests at the sender.

Reports on held leases have a reserve of places.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobledger_service.sharing.places import Places, share_places
from jobledger_service.transport.methods import Context
from jobledger_service.transport.refusals import InFlightFull, RequestTimedOut

if TYPE_CHECKING:
    from jobledger_service.sharing.shares import Shares

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


class RequestReceiver(Places):
    """Places for requests that are being received; a call without a place waits for one, owners in turn.

    Its holder keeps a place until the request is read: till then it may be in memory several times. A call that is no
    report is refused with InFlightFull when the first one of its line has waited for `max_wait_seconds`.
    """

    def __init__(
        self,
        places: int,
        reserve: int = 0,
        timeout_seconds: float = RECEIVE_TIMEOUT_SECONDS,
        max_wait_seconds: float = inf,
    ) -> None:
        super().__init__(share_places(places), share_places(reserve))
        self._max_wait_seconds = max_wait_seconds
        self._timeout_seconds = timeout_seconds
        self._slots: dict[_Slot, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, owner: str, amount: int = 1, *, reserved: bool = False) -> "Shares":
        """Take a place, perhaps after others; raises InFlightFull when the owner's calls wait too long."""
        if not reserved and self.longest_wait(owner) > self._max_wait_seconds:
            raise InFlightFull("receiving")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._cancel_slow)
        return await super().take(owner, amount, reserved=reserved)

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
        waits, now = self.is_waited_for, time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._cancel_slow) if waits else None
        for slot in self._slots if waits else ():
            if not slot.timed_out and now - slot.since > self._timeout_seconds:
                slot.timed_out = True
                slot.task.cancel()


class LargeRequests:
    """Reads large requests on a thread, one at a time and owners in turn, so that other calls continue meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "requests")
        self._places = Places(share_places(1))

    async def read(self, owner: str, read: Callable[[bytes], T], raw: bytes, *, reserved: bool = False) -> T:
        """Return the result of `read` on a request; raises its errors."""
        place = await self._places.take(owner, reserved=reserved)
        reading = self._thread.submit(copy_context().run, read, raw)
        try:
            return await asyncio.wrap_future(reading)
        except asyncio.CancelledError:
            reading.add_done_callback(_close)
            raise
        finally:
            self._places.release(owner, place)


def _close(reading: "Future[Any]") -> None:
    """Close the coroutine that a read returned after its caller left."""
    if not reading.cancelled() and reading.exception() is None and asyncio.iscoroutine(answer := reading.result()):
        answer.close()
