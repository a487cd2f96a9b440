"""What is called, with which keys: counted in memory, kept as sums by day."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct

from jobledger_service.core.ledger.paging import PageTokens, request_mark
from jobledger_service.core.model.limits import SECOND
from jobledger_service.features.access.commands import Run
from jobledger_service.features.access.rules import Caller

DIMENSIONS: Final = ("day", "owner", "key_id", "method")


def day_of(time: int) -> str:
    """Return the day (UTC) of a time in microseconds, as 2026-01-31."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC):%Y-%m-%d}"


def day_before(time: int, days: float) -> str:
    """Return the day that was so many days before a time in microseconds."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC) - timedelta(days=days):%Y-%m-%d}"


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


class UsageQuery(Struct, frozen=True):
    """Which usage, and what to sum it by; empty texts are no condition, and `by` is not empty."""

    by: tuple[str, ...]
    start_day: str = ""
    end_day: str = ""
    owner: str = ""
    key_id: str = ""


class UsageStore(Protocol):
    """Where usage is kept. Every method is one transaction, and raises StoreUnavailable."""

    def add(self, rows: Sequence[UsageRow]) -> None:
        """Add to the sums."""

    def forget(self, before: str) -> None:
        """Forget the days before one."""

    def sums(self, query: UsageQuery, after: Sequence[str] | None, limit: int) -> list[UsageRow]:
        """Return sums after a place, which has a value for each dimension of the query, in their order."""


class UsagePage(Struct, frozen=True):
    """A page of sums."""

    rows: Sequence[UsageRow]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class UsageQueries:
    """Reads usage."""

    store: UsageStore
    reading: Run
    tokens: PageTokens

    async def page(self, query: UsageQuery, limit: int, page_token: str) -> UsagePage:
        """Return a page of sums; raises PageTokenInvalid."""
        mark = request_mark("usage", query)
        place = self.tokens.parse(page_token, mark, *(str for _ in query.by))
        after = None if place is None else [str(value) for value in place]
        rows = await self.reading(lambda: self.store.sums(query, after, limit + 1))
        token = ""
        if len(rows) > limit:
            token = self.tokens.encode(mark, *(getattr(rows[limit - 1], name) for name in query.by))
        return UsagePage(rows[:limit], token)
