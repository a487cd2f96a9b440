"""Places that owners take in turn."""

import asyncio
from collections import OrderedDict, deque
from math import inf
from typing import NamedTuple

from .refusals import InFlightFull


class _Waiting(NamedTuple):
    granted: "asyncio.Future[None]"
    since: float


class Turns:
    """A number of places, of which one owner has at most `max_of_owner`; who finds none waits, owners in turn.

    Reports on held leases wait in a line of their own, which has turns of its own. Another call is refused when the
    oldest call of its line has waited for `max_wait_seconds`.
    """

    def __init__(self, places: int, max_of_owner: int, max_wait_seconds: float = inf) -> None:
        self._free = places
        self._max_of_owner = max_of_owner
        self._max_wait_seconds = max_wait_seconds
        self._held: dict[str, int] = {}
        self._lines: OrderedDict[tuple[str, bool], deque[_Waiting]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether a call waits."""
        return bool(self._lines)

    def has_place(self, owner: str) -> bool:
        """Whether an owner would get a place at once."""
        return self._free > 0 and self._held.get(owner, 0) < self._max_of_owner

    async def take(self, owner: str, *, reserved: bool = False) -> None:
        """Take a place, perhaps after others; raises InFlightFull."""
        if self.has_place(owner):
            self._occupy(owner)
        else:
            await self._wait(owner, reserved=reserved)

    def release(self, owner: str) -> None:
        """Give a place back, to the next one who waits."""
        self._free += 1
        left = self._held.pop(owner) - 1
        if left:
            self._held[owner] = left
        if self._lines:
            self._grant_next()

    def _occupy(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    async def _wait(self, owner: str, *, reserved: bool) -> None:
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault((owner, reserved), deque())
        _drop_ended(line)
        if line and not reserved and loop.time() - line[0].since > self._max_wait_seconds:
            raise InFlightFull("receiving")
        granted: asyncio.Future[None] = loop.create_future()
        line.append(_Waiting(granted, loop.time()))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(owner)
            raise

    def _grant_next(self) -> None:
        """Give the free place to the next line that waits and whose owner may have it."""
        for (owner, reserved), line in list(self._lines.items()):
            _drop_ended(line)
            if line and self.has_place(owner):
                self._occupy(owner)
                line.popleft().granted.set_result(None)
                self._lines.move_to_end((owner, reserved))
            if not line:
                del self._lines[owner, reserved]
            if not self._free:
                return


def _drop_ended(line: deque[_Waiting]) -> None:
    """Drop the first of those that wait, as far as their calls have ended."""
    while line and line[0].granted.done():
        line.popleft()
