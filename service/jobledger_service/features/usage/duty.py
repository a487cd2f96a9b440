"""What was called goes from memory into the database."""

from dataclasses import dataclass
from functools import partial

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.transport.usage import Usage, UsageRow

from .queries import day_before, day_of
from .store import SqlUsageStore


@dataclass(frozen=True, slots=True)
class UsageDuty:
    """Writes new counts, and deletes those older than `retention_days` days. A crash loses counts in memory."""

    usage: Usage
    store: SqlUsageStore
    committer: Committer
    clock: Clock
    retention_days: float

    async def once(self) -> bool:
        """Run once; return False."""
        now = self.clock()
        rows = self.usage.drain(day_of(now))
        if rows:
            try:
                await self.committer.run_on_writer(partial(self._record, rows, day_before(now, self.retention_days)))
            except BaseException:
                self.usage.restore(rows)
                raise
        return False

    def _record(self, rows: list[UsageRow], oldest: str) -> None:
        self.store.add(rows)
        self.store.forget(oldest)
