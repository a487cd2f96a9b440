"""Receives requests a few at a time: what nobody reads yet, the sender keeps, by HTTP/2's flow control."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from .call import Context

T = TypeVar("T")

SECONDS: Final = 30.0
"""A request that has not arrived by then is given up when others wait for its place."""
CHECK_SECONDS: Final = 1.0
OTHERS: Final = 4
"""The part of all places, 1 / OTHERS, that one owner leaves to others."""


class RequestMissingError(Exception):
    """The request did not arrive in time."""

    def __init__(self) -> None:
        super().__init__(f"the request did not arrive within {SECONDS:g} s")


class _Place:
    __slots__ = ("given_up", "since", "task")

    def __init__(self, task: "asyncio.Task[Any]", since: float) -> None:
        self.task = task
        self.since = since
        self.given_up = False


class Receiving:
    """Places for requests that are being received; a call that finds none waits for one, owners in turn."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = places
        self._max_of_owner = max(places - max(places // OTHERS, 1), 1)
        self._held: dict[str, int] = {}
        self._places: dict[_Place, None] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, owner: str, context: Context, read: Callable[[Any], Awaitable[T]]) -> T:
        """Return what is read of a call's request, EOF when there is none; raises RequestMissingError.

        The place is held until the request is read: till then it may be in memory several times.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        if self.has_place(owner):
            self._take(owner)
        else:
            await self._wait(owner)
        place = _Place(task, asyncio.get_running_loop().time())
        try:
            raw = await self._arrive(place, context)
            return await read(raw)
        finally:
            self._give(owner)

    async def _arrive(self, place: _Place, context: Context) -> Any:  # noqa: ANN401  bytes, or gRPC's EOF
        self._places[place] = None
        try:
            return await context.read()
        except asyncio.CancelledError:
            if not place.given_up or place.task.uncancel():
                raise
            raise RequestMissingError from None
        finally:
            del self._places[place]

    def has_place(self, owner: str) -> bool:
        """Whether a request of an owner would be received at once."""
        return self._free > 0 and self._held.get(owner, 0) < self._max_of_owner

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    async def _wait(self, owner: str) -> None:
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(granted)
        if self._timer is None:
            self._timer = loop.call_later(CHECK_SECONDS, self._give_up)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give(owner)
            raise

    def _give(self, owner: str) -> None:
        self._free += 1
        left = self._held.pop(owner) - 1
        if left:
            self._held[owner] = left
        if self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        """Give the free place to the next owner who waits and may have it."""
        for owner, waiting in list(self._waiting.items()):
            while waiting and waiting[0].done():
                waiting.popleft()  # its call has ended
            if waiting and self.has_place(owner):
                self._take(owner)
                waiting.popleft().set_result(None)
                self._waiting.move_to_end(owner)
            if not waiting:
                del self._waiting[owner]
            if not self._free:
                return

    def _give_up(self) -> None:
        """Give up requests that have not arrived in time, as long as others wait for their places."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self._give_up) if self._waiting else None
        for place in self._places if self._waiting else ():
            if not place.given_up and loop.time() - place.since > SECONDS:
                place.given_up = True
                place.task.cancel()
