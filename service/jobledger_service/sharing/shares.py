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

    def has_room(self, owner: str, amount: int, *, reserved: bool = False) -> bool:
        """Whether an owner may hold this much more."""
        free = self.limit - self.total + (self.reserve if reserved else 0) - amount
        held = self._held.get(owner, 0)
        return free >= 0 and (not held or held + amount <= self._spread * free)

    def try_add(self, owner: str, amount: int, *, reserved: bool = False) -> bool:
        """Add to an owner's amount, if it may hold this much more; return whether it may."""
        if not self.has_room(owner, amount, reserved=reserved):
            return False
        self.add(owner, amount)
        return True

    def add(self, owner: str, amount: int) -> None:
        """Add to an owner's amount, whatever it may hold."""
        self.total += amount
        self._held[owner] = self._held.get(owner, 0) + amount

    def remove(self, owner: str, amount: int) -> None:
        """Subtract from an owner's amount."""
        self.total -= amount
        remainder = self._held.pop(owner, 0) - amount
        if remainder:
            self._held[owner] = remainder
