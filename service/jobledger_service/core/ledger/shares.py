"""An amount that owners hold together under one bound: the owner that holds most is refused first."""

from typing import Final

SPREAD: Final = 3
"""An owner may hold this many times what he leaves: alone three quarters. An owner with nothing gets what is left.

These are the dynamic thresholds of Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches" (1998): N owners that take all they can get leave 1/(1 + 3N) of the bound free, and 1/4 of what each finds at
least at any time.
"""


class Shares:
    """How much each owner holds of at most `limit`; what has a `reserve` may go beyond the limit by that much."""

    __slots__ = ("_held", "limit", "reserve", "total")

    def __init__(self, limit: int, reserve: int = 0) -> None:
        self.limit = limit
        self.reserve = reserve
        self.total = 0
        self._held: dict[str, int] = {}

    def held(self, owner: str) -> int:
        """Return how much an owner holds."""
        return self._held.get(owner, 0)

    def admits(self, owner: str, amount: int, *, reserved: bool) -> bool:
        """Whether an owner may hold so much more."""
        left = self.limit - self.total + (self.reserve if reserved else 0) - amount
        held = self._held.get(owner, 0)
        return left >= 0 and (not held or held + amount <= SPREAD * left)

    def add(self, owner: str, amount: int) -> None:
        """Count what an owner holds from now on."""
        self.total += amount
        self._held[owner] = self._held.get(owner, 0) + amount

    def remove(self, owner: str, amount: int) -> None:
        """Count what an owner holds no more."""
        self.total -= amount
        left = self._held.pop(owner, 0) - amount
        if left:
            self._held[owner] = left
