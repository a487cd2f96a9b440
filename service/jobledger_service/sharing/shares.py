"""A bound that owners share: the owner that holds most is refused first."""

from typing import Final

SPREAD: Final = 3
"""The multiple of the free amount that an owner may hold: alone three quarters. These are the dynamic thresholds of
Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998): N owners at their
maximum leave 1/(1 + 3N) of the bound free, and an owner with nothing gets at least 1/4 of what is free at any time."""


class Shares:
    """The amounts that owners hold of at most `limit`; items with a `reserve` may exceed the limit by that much."""

    __slots__ = ("_held", "_spread", "limit", "reserve", "total")

    def __init__(self, limit: int, reserve: int = 0, *, spread: int = SPREAD) -> None:
        self.limit = limit
        self.reserve = reserve
        self.total = 0
        self._spread = spread
        self._held: dict[str, int] = {}

    def try_add(self, owner: str, amount: int, *, reserved: bool) -> bool:
        """Add to an owner's amount, if it may hold this much more; return whether it may."""
        left = self.limit - self.total + (self.reserve if reserved else 0) - amount
        held = self._held.get(owner, 0)
        if not is_share(held, amount, left, self._spread):
            return False
        self.total += amount
        self._held[owner] = held + amount
        return True

    def remove(self, owner: str, amount: int) -> None:
        """Subtract from an owner's amount."""
        self.total -= amount
        left = self._held.pop(owner, 0) - amount
        if left:
            self._held[owner] = left


def is_share(held: int, amount: int, left: int, spread: int = SPREAD) -> bool:
    """Whether an owner that holds so much may hold an amount more, after which so much is left."""
    return left >= 0 and (not held or held + amount <= spread * left)
