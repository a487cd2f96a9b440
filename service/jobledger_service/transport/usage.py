"""What is called, with which keys: counted in memory until it is written down."""

from collections.abc import Iterable
from copy import copy

from msgspec import Struct as MsgStruct

from .identity import Caller


class UsageCounts(MsgStruct):
    """Sums over calls: `received` and `sent` are bytes, `micros` microseconds."""

    calls: int = 0
    errors: int = 0
    received: int = 0
    sent: int = 0
    micros: int = 0

    def add(self, other: "UsageCounts") -> None:
        """Add the sums of another tally."""
        self.calls += other.calls
        self.errors += other.errors
        self.received += other.received
        self.sent += other.sent
        self.micros += other.micros

    def drain(self) -> "UsageCounts":
        """Return the sums, and begin anew."""
        taken = copy(self)
        self.calls = self.errors = self.received = self.sent = self.micros = 0
        return taken


class UsageRow(MsgStruct, frozen=True):
    """Sums of one place; a dimension that was summed over is empty."""

    day: str
    owner: str
    key_id: str
    method: str
    counts: UsageCounts


_UsageKey = tuple[str, str, str]


class Usage:
    """What was called since this was last noted. Tallies stay, so that an open watch goes on with its own."""

    def __init__(self) -> None:
        self._counts: dict[_UsageKey, UsageCounts] = {}

    def counts_for(self, caller: Caller, method: str) -> UsageCounts:
        """Return where to count a caller's calls of a method."""
        key = (caller.owner, caller.key_id, method)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = UsageCounts()
        return found

    def drain(self, day: str) -> list[UsageRow]:
        """Return what was counted, as of a day, and begin anew."""
        nothing = UsageCounts()
        return [UsageRow(day, *place, counts.drain()) for place, counts in self._counts.items() if counts != nothing]

    def restore(self, rows: Iterable[UsageRow]) -> None:
        """Count again what was taken and could not be noted."""
        for row in rows:
            self._counts[row.owner, row.key_id, row.method].add(row.counts)
