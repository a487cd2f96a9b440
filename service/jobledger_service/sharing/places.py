"""Places that owners share: a caller who finds none free waits, owners in turn."""

import asyncio
from math import inf
from typing import Final, NamedTuple

from .shares import Shares
from .turns import Turns

PLACE_SPREAD: Final = 1
"""An owner's second and later places leave at least as many free as it then holds: of 6 the first owner has 3, and
three more have one each."""


def share_places(count: int) -> Shares:
    """Return the shares of `count` places, of which a lone owner has about half."""
    return Shares(count, spread=PLACE_SPREAD)


class _Waiter(NamedTuple):
    granted: "asyncio.Future[Shares]"
    amount: int
    since: float


class Places:
    """Places for all, and a reserve for reports on held leases.

    A caller takes one place, or an `amount` of them. Reports wait in a line of their own, which has turns of its own.
    """

    def __init__(self, places: Shares, reserve: Shares | None = None) -> None:
        self.places = places
        self.reserve = reserve
        self._turns: Turns[tuple[str, bool], _Waiter] = Turns()

    @property
    def is_waited_for(self) -> bool:
        """Whether a caller waits for a place."""
        return bool(self._turns)

    def take_free(self, owner: str, amount: int = 1, *, reserved: bool = False) -> Shares | None:
        """Take places that the owner may have at once, and return of which they are; None when it has to wait."""
        return None if (owner, reserved) in self._turns else self._take(owner, amount, reserved=reserved)

    async def take(self, owner: str, amount: int = 1, *, reserved: bool = False) -> Shares:
        """Take places, perhaps after others, and return of which they are."""
        free = self.take_free(owner, amount, reserved=reserved)
        if free is not None:
            return free
        loop, line = asyncio.get_running_loop(), (owner, reserved)
        waiter = _Waiter(loop.create_future(), amount, loop.time())
        self._turns.add(line, waiter)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.release(owner, waiter.granted.result(), amount)
            else:
                self._turns.remove(line, waiter)
                while self._grant_first(line):  # those behind it may want less
                    pass
            raise

    def release(self, owner: str, places: Shares, amount: int = 1) -> None:
        """Give places back, to those who wait."""
        places.remove(owner, amount)
        self.grant()

    def grant(self) -> None:
        """Give free places to those who wait and may have them, owners in turn."""
        while self._turns and self._has_free() and any(map(self._grant_first, list(self._turns))):
            pass

    def longest_wait(self, owner: str) -> float:
        """Return for how many seconds the owner's first call has waited that is no report."""
        first = self._first((owner, False))
        return -inf if first is None else asyncio.get_running_loop().time() - first.since

    def _take(self, owner: str, amount: int, *, reserved: bool) -> Shares | None:
        if self.places.try_add(owner, amount):
            return self.places
        reserve = self.reserve if reserved else None
        return reserve if reserve is not None and reserve.try_add(owner, amount) else None

    def _first(self, line: tuple[str, bool]) -> _Waiter | None:
        """Return the first of a line, without those whose calls have ended and whose tasks have not run since."""
        while (first := self._turns.first(line)) is not None and first.granted.done():
            self._turns.remove(line, first)
        return first

    def _has_free(self) -> bool:
        return any(shares.total < shares.limit for shares in (self.places, self.reserve) if shares is not None)

    def _grant_first(self, line: tuple[str, bool]) -> bool:
        """Give the first of a line its places, if it may have them; return whether it may."""
        first = self._first(line)
        if first is None:
            return False
        owner, reserved = line
        places = self._take(owner, first.amount, reserved=reserved)
        if places is None:
            return False
        self._turns.take_from(line)
        first.granted.set_result(places)
        return True
