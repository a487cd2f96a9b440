"""Usage: calls by key, counted in memory, stored as sums by day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.paging import PageTokens, request_mark
from jobledger_service.core.ledger.ports import StoreRunner
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.usage import UsageRow

DIMENSIONS: Final = ("day", "owner", "key_id", "method")


def day_of(time: int) -> str:
    """Return the day (UTC) of a time in microseconds, as 2026-01-31."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC):%Y-%m-%d}"


def day_before(time: int, days: float) -> str:
    """Return the day that many days before a time in microseconds."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC) - timedelta(days=days):%Y-%m-%d}"


class UsageQuery(MsgStruct, frozen=True):
    """A query for usage, and its dimensions; empty texts are no condition, and `by` is not empty."""

    by: tuple[str, ...]
    start_day: str = ""
    end_day: str = ""
    owner: str = ""
    key_id: str = ""


class UsageStore(Protocol):
    """The store of usage. Every method is one transaction, and raises StoreUnavailable."""

    def add(self, rows: Sequence[UsageRow]) -> None:
        """Add to the sums."""

    def forget(self, before: str) -> None:
        """Delete the days before one."""

    def sums(self, query: UsageQuery, after: Sequence[str] | None, limit: int) -> list[UsageRow]:
        """Return sums after a place, which has a value for each dimension of the query, in their order."""


class UsagePage(MsgStruct, frozen=True):
    """A page of sums."""

    rows: Sequence[UsageRow]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class UsageQueries:
    """Reads usage."""

    store: UsageStore
    run_read: StoreRunner
    tokens: PageTokens

    async def page(self, query: UsageQuery, limit: int, page_token: str) -> UsagePage:
        """Return a page of sums; raises PageTokenInvalid."""
        mark = request_mark("usage", query)
        place = self.tokens.parse(page_token, mark, *(str for _ in query.by))
        after = None if place is None else [str(value) for value in place]
        rows = await self.run_read(lambda: self.store.sums(query, after, limit + 1))
        token = ""
        if len(rows) > limit:
            token = self.tokens.encode(mark, *(getattr(rows[limit - 1], name) for name in query.by))
        return UsagePage(rows[:limit], token)
