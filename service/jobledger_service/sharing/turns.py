"""Turns: the owners that wait take one each, however much one of them has waiting."""

import asyncio
from collections import OrderedDict, deque
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

from .shares import Shares

Item = TypeVar("Item")


class OwnerLines(Generic[Item]):
    """A line of items for each owner; the owner whose item is taken goes to the end."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, owner: str, item: Item) -> None:
        """Add an item to the line of its owner."""
        self._lines.setdefault(owner, deque()).append(item)

    def take(self) -> Item:
        """Take the item whose turn it is."""
        owner, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[owner] = line
        return item


class LoopTurns:
    """Lets tasks that have much to do continue one by one, each in another pass of the event loop."""

    def __init__(self) -> None:
        self._lines: OwnerLines[asyncio.Future[None]] = OwnerLines()
        self._is_going = False

    async def next(self, owner: str) -> None:
        """Wait for the task's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._lines.add(owner, turn)
        if not self._is_going:
            self._is_going = True
            loop.call_soon(self._go_on)
        await turn

    def _go_on(self) -> None:
        """Let one task continue, in the next pass, and another in the one after."""
        while self._lines:
            turn = self._lines.take()
            if not turn.done():  # its task may have been cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._go_on)
                return
        self._is_going = False


PLACE_SPREAD: Final = 1
"""An owner's second and later places leave at least as many free as it then holds: of 6 the first owner has 3, and
three more have one each."""


class _Waiting(NamedTuple):
    granted: "asyncio.Future[Shares]"
    since: float


class Places:
    """Places for all, and a reserve for reports on held leases; who finds none waits, owners in turn.

    Reports wait in a line of their own, which has turns of its own.
    """

    def __init__(self, count: int, reserve: int = 0) -> None:
        self.places = Shares(count, spread=PLACE_SPREAD)
        self.reserve = Shares(reserve, spread=PLACE_SPREAD)
        self._lines: OrderedDict[tuple[str, bool], deque[_Waiting]] = OrderedDict()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._lines)

    def take_free(self, owner: str, *, reserved: bool = False) -> Shares | None:
        """Take a place that the owner may have at once and return of which it is, None when there is none."""
        if self.places.try_add(owner, 1, reserved=False):
            return self.places
        return self.reserve if reserved and self.reserve.try_add(owner, 1, reserved=False) else None

    async def take(self, owner: str, *, reserved: bool = False) -> Shares:
        """Take a place, perhaps after others, and return of which it is."""
        return self.take_free(owner, reserved=reserved) or await self._wait(owner, reserved=reserved)

    def release(self, owner: str, places: Shares) -> None:
        """Give a place back, to the next one who waits."""
        places.remove(owner, 1)
        if self._lines:
            self._grant_next()

    def longest_wait(self, owner: str) -> float:
        """Return for how many seconds the owner's first call has waited that is no report."""
        line = self._lines.get((owner, False), deque())
        _drop_ended(line)
        return asyncio.get_running_loop().time() - line[0].since if line else -inf

    async def _wait(self, owner: str, *, reserved: bool) -> Shares:
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[Shares] = loop.create_future()
        line = self._lines.setdefault((owner, reserved), deque())
        _drop_ended(line)
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
            places = self.take_free(owner, reserved=reserved) if line else None
            if places is not None:
                line.popleft().granted.set_result(places)
                self._lines.move_to_end((owner, reserved))
            if not line:
                del self._lines[owner, reserved]
            if places is not None:
                return


def _drop_ended(line: deque[_Waiting]) -> None:
    """Drop the first of those that wait, as far as their calls have ended."""
    while line and line[0].granted.done():
        line.popleft()
