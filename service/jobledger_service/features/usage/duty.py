"""Writes counted calls, and when keys were last used, from memory into the database."""

from collections.abc import Callable
from dataclasses import dataclass

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.transport.usage import Usage, UsageRow

from .queries import UsageStore, day_before, day_of


@dataclass(frozen=True, slots=True)
class UsageDuty:
    """Writes new counts, and deletes those older than `retention_days` days. A crash loses counts in memory."""

    usage: Usage
    store: UsageStore
    take_used: Callable[[], dict[str, int]]
    note_used: Callable[[dict[str, int]], None]
    committer: Committer
    clock: Clock
    retention_days: float

    async def once(self) -> bool:
        """Run once; return False."""
        now = self.clock()
        rows = self.usage.drain(day_of(now))
        used = self.take_used()
        if rows or used:
            try:
                await self.committer.run_on_writer(self._recording(rows, used, day_before(now, self.retention_days)))
            except BaseException:
                self.usage.restore(rows)
                raise
        return False

    def _recording(self, rows: list[UsageRow], used: dict[str, int], oldest: str) -> Callable[[], None]:
        def record() -> None:
            if rows:
                self.store.add(rows)
                self.store.forget(oldest)
            if used:
                self.note_used(used)

        return record
