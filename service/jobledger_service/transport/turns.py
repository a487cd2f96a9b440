"""Places that owners take in turn, with a reserve for reports on held leases."""

import asyncio
from collections import OrderedDict, deque
from math import inf
from typing import Final, NamedTuple

from .refusals import InFlightFull

OTHERS_SHARE_DIVISOR: Final = 4
"""The part of all places, 1 / OTHERS_SHARE_DIVISOR, that one owner leaves to others."""


class Places:
    """A number of places, of which one owner has at most `max_of_owner`."""

    __slots__ = ("_held", "count", "free", "max_of_owner")

    def __init__(self, count: int) -> None:
        self.count = self.free = count
        self.max_of_owner = max(count - max(count // OTHERS_SHARE_DIVISOR, 1), min(count, 1))
        self._held: dict[str, int] = {}

    def admits(self, owner: str) -> bool:
        """Whether an owner would get a place at once."""
        return self.free > 0 and self._held.get(owner, 0) < self.max_of_owner

    def occupy(self, owner: str) -> None:
        """Take a place that is free."""
        self.free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    def vacate(self, owner: str) -> None:
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

    def __bool__(self) -> bool:
        """Whether a call waits."""
        return bool(self._lines)

    def find(self, owner: str, *, reserved: bool) -> Places | None:
        """Return where an owner would get a place at once, None for nowhere."""
        if self.places.admits(owner):
            return self.places
        return self.reserve if reserved and self.reserve.admits(owner) else None

    async def take(self, owner: str, *, reserved: bool = False) -> Places:
        """Take a place, perhaps after others, and return where it is; raises InFlightFull."""
        found = self.find(owner, reserved=reserved)
        if found is None:
            return await self._wait(owner, reserved=reserved)
        found.occupy(owner)
        return found

    def release(self, owner: str, places: Places) -> None:
        """Give a place back, to the next one who waits."""
        places.vacate(owner)
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
            found = self.find(owner, reserved=reserved) if line else None
            if found is not None:
                found.occupy(owner)
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
