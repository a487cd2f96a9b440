"""Usage: calls by key, counted in memory, stored as sums by day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.paging import PageTokens, request_mark
from jobledger_service.core.ledger.ports import StoreRunner
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.usage import UsageRow

from .store import SqlUsageStore, UsageQuery

R = TypeVar("R")


def day_of(time: int) -> str:
    """Return the day (UTC) of a time in microseconds, as 2026-01-31."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC):%Y-%m-%d}"


def day_before(time: int, days: float) -> str:
    """Return the day that many days before a time in microseconds."""
    return f"{datetime.fromtimestamp(time / SECOND, UTC) - timedelta(days=days):%Y-%m-%d}"


class UsagePage(MsgStruct, frozen=True):
    """A page of sums."""

    rows: Sequence[UsageRow]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class UsageQueries:
    """Reads usage."""

    store: SqlUsageStore
    run_read: StoreRunner
    tokens: PageTokens

    async def page(self, query: UsageQuery, limit: int, page_token: str, show: Callable[[UsagePage], R]) -> R:
        """Return what `show` makes of a page of sums, on the thread that reads; raises PageTokenInvalid."""
        mark = request_mark("usage", query)
        place = self.tokens.parse(page_token, mark, *(str for _ in query.by))
        after = None if place is None else [str(value) for value in place]

        def read() -> R:
            rows = self.store.sums(query, after, limit + 1)
            token = ""
            if len(rows) > limit:
                token = self.tokens.encode(mark, *(getattr(rows[limit - 1], name) for name in query.by))
            return show(UsagePage(rows[:limit], token))

        return await self.run_read(read)
