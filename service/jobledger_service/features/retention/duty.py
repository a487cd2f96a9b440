"""What is kept only for a time: ended jobs, history, requests and ended keys."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.commands import RemoveExpired
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import ReadStore
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.ledger.write_ports import Upkeep
from jobledger_service.core.model.limits import DAY
from jobledger_service.core.model.slots import LIMIT_RETENTION

Result = TypeVar("Result")

JOBS_PER_STEP: Final = 20
EVENTS_PER_STEP: Final = 500
ROWS_PER_STEP: Final = 1_000
REQUEST_RETENTION: Final = DAY


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """How long history, and the audit trail of a deleted job or an ended key, are kept, in microseconds."""

    events: int
    audit: int


@dataclass(frozen=True, slots=True)
class RetentionDuty:
    """Forgets in small steps, on the writer's thread, so that no caller waits long behind it; large jobs one at a time.

    `on_trimmed` hears of the newest position that was forgotten.
    """

    store: ReadStore
    upkeep: Upkeep
    queries: Queries
    committer: Committer
    clock: Clock
    periods: RetentionPeriods
    on_trimmed: Callable[[int], None]
    unreadable: UnreadableRows

    async def once(self) -> bool:
        """Delete what is due; return whether there is more."""
        now = self.clock()
        jobs = await self.queries.run(self.store.expired_jobs, now, JOBS_PER_STEP)
        await submit_bisecting(
            jobs, lambda some: self.committer.submit(RemoveExpired(some)), "retention", self.unreadable
        )
        through = await self._trim(self.upkeep.trim_events, now - self.periods.events, EVENTS_PER_STEP)
        if through is not None:
            self.on_trimmed(through)
        await self._trim(self.upkeep.trim_limits, now - LIMIT_RETENTION, ROWS_PER_STEP)
        requests = await self._trim(self.upkeep.trim_requests, now - REQUEST_RETENTION, ROWS_PER_STEP)
        trails = await self._trim(self.upkeep.trim_audit, now - self.periods.audit, ROWS_PER_STEP)
        await self._trim(self.upkeep.trim_keys, now - self.periods.audit, ROWS_PER_STEP)
        more = through is not None or requests == ROWS_PER_STEP or trails > 0
        return len(jobs) == JOBS_PER_STEP or more

    def _trim(self, trim: Callable[[int, int], Result], before: int, limit: int) -> Awaitable[Result]:
        return self.committer.run_on_writer(lambda: trim(before, limit), limit)
