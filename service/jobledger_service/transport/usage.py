"""What is called, with which keys: counted in memory until it is written down."""

from collections.abc import Iterable
from copy import copy

from msgspec import Struct

from .identity import Caller


class Tally(Struct):
    """Sums over calls: `received` and `sent` are bytes, `micros` microseconds."""

    calls: int = 0
    errors: int = 0
    received: int = 0
    sent: int = 0
    micros: int = 0

    def add(self, other: "Tally") -> None:
        """Add the sums of another tally."""
        self.calls += other.calls
        self.errors += other.errors
        self.received += other.received
        self.sent += other.sent
        self.micros += other.micros

    def take(self) -> "Tally":
        """Return the sums, and begin anew."""
        taken = copy(self)
        self.calls = self.errors = self.received = self.sent = self.micros = 0
        return taken


class UsageRow(Struct, frozen=True):
    """Sums of one place; a dimension that was summed over is empty."""

    day: str
    owner: str
    key_id: str
    method: str
    tally: Tally


_Place = tuple[str, str, str]


class Usage:
    """What was called since this was last noted. Tallies stay, so that an open watch goes on with its own."""

    def __init__(self) -> None:
        self._tallies: dict[_Place, Tally] = {}

    def tally(self, caller: Caller, method: str) -> Tally:
        """Return where to count a caller's calls of a method."""
        place = (caller.owner, caller.key_id, method)
        found = self._tallies.get(place)
        if found is None:
            found = self._tallies[place] = Tally()
        return found

    def take(self, day: str) -> list[UsageRow]:
        """Return what was counted, as of a day, and begin anew."""
        nothing = Tally()
        return [UsageRow(day, *place, tally.take()) for place, tally in self._tallies.items() if tally != nothing]

    def give_back(self, rows: Iterable[UsageRow]) -> None:
        """Count again what was taken and could not be noted."""
        for row in rows:
            self._tallies[row.owner, row.key_id, row.method].add(row.tally)
