"""What is kept only for a time: ended jobs, history, requests, ended keys, and statistics."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from jobledger_service.core.ledger.commands import RemoveExpired
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.parts import submit_in_parts
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import ReadStore
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.ledger.write_ports import Upkeep
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.slots import FORGOTTEN

Gone = TypeVar("Gone")

JOBS_AT_ONCE: Final = 20
EVENTS_AT_ONCE: Final = 500
ROWS_AT_ONCE: Final = 1_000
TOTALS_AT_ONCE: Final = 200
REQUESTS_KEPT: Final = 24 * 3_600 * SECOND


@dataclass(frozen=True, slots=True)
class Kept:
    """How long history, the audit trail of a deleted job or an ended key, and statistics are kept, in microseconds."""

    events: int
    audit: int
    statistics: int


@dataclass(frozen=True, slots=True)
class RetentionDuty:
    """Forgets in small steps, on the writer's thread, so that no caller waits long behind it; large jobs one at a time.

    `trimmed` hears of the newest position that was forgotten.
    """

    store: ReadStore
    upkeep: Upkeep
    queries: Queries
    committer: Committer
    clock: Clock
    kept: Kept
    trimmed: Callable[[int], None]
    unreadable: UnreadableRows

    async def once(self) -> bool:
        """Forget what is due; return whether there is more."""
        now = self.clock()
        jobs = await self.queries.run(self.store.expired_jobs, now, JOBS_AT_ONCE)
        await submit_in_parts(
            jobs, lambda some: self.committer.submit(RemoveExpired(some)), "retention", self.unreadable
        )
        through = await self._do(self.upkeep.trim_events, now - self.kept.events, EVENTS_AT_ONCE)
        if through is not None:
            self.trimmed(through)
        await self._do(self.upkeep.trim_limits, now - FORGOTTEN, ROWS_AT_ONCE)
        requests = await self._do(self.upkeep.trim_requests, now - REQUESTS_KEPT, ROWS_AT_ONCE)
        trails = await self._do(self.upkeep.trim_audit, now - self.kept.audit, ROWS_AT_ONCE)
        await self._do(self.upkeep.trim_keys, now - self.kept.audit, ROWS_AT_ONCE)
        totals = await self._do(self.upkeep.trim_statistics, now - self.kept.statistics, TOTALS_AT_ONCE)
        more = through is not None or requests == ROWS_AT_ONCE or trails > 0 or totals == TOTALS_AT_ONCE
        return len(jobs) == JOBS_AT_ONCE or more

    def _do(self, forget: Callable[[int, int], Gone], before: int, limit: int) -> Awaitable[Gone]:
        return self.committer.maintain(lambda: forget(before, limit), limit)
