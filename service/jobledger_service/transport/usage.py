"""Counts calls by key in memory, until a duty writes the counts."""

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
        """Add other counts."""
        self.calls += other.calls
        self.errors += other.errors
        self.received += other.received
        self.sent += other.sent
        self.micros += other.micros

    def drain(self) -> "UsageCounts":
        """Return the sums, and reset them."""
        taken = copy(self)
        self.calls = self.errors = self.received = self.sent = self.micros = 0
        return taken


class UsageRow(MsgStruct, frozen=True):
    """Sums of one combination of dimensions; a dimension that was summed over is empty."""

    day: str
    owner: str
    key_id: str
    method: str
    counts: UsageCounts


class Usage:
    """The calls since the last drain. Counters stay, so that an open watch keeps its own."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], UsageCounts] = {}

    def counts_for(self, caller: Caller, method: str) -> UsageCounts:
        """Return the counter of a caller's calls of a method."""
        key = (caller.owner, caller.key_id, method)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = UsageCounts()
        return counts

    def drain(self, day: str) -> list[UsageRow]:
        """Return the counts, as of a day, and reset them."""
        nothing = UsageCounts()
        return [UsageRow(day, *place, counts.drain()) for place, counts in self._counts.items() if counts != nothing]

    def restore(self, rows: Iterable[UsageRow]) -> None:
        """Add drained counts again that could not be written."""
        for row in rows:
            self._counts[row.owner, row.key_id, row.method].add(row.counts)
