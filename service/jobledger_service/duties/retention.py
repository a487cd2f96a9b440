"""What is kept only for a time: ended jobs, history, and requests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from jobledger_service.domain.limits import SECOND
from jobledger_service.domain.slots import FORGOTTEN
from jobledger_service.ledger.commands import RemoveExpired
from jobledger_service.ledger.committer import Committer
from jobledger_service.ledger.ports import Clock, ReadStore, WriteStore
from jobledger_service.ledger.queries import Queries

JOBS_AT_ONCE: Final = 20
ROWS_AT_ONCE: Final = 1_000
REQUESTS_KEPT: Final = 24 * 3_600 * SECOND


@dataclass(frozen=True, slots=True)
class RetentionDuty:
    """Forgets in small steps, on the writer's thread, so that no caller waits long behind it.

    `event_retention` is in microseconds; `trimmed` hears of the newest position that was forgotten.
    """

    store: ReadStore
    writes: WriteStore
    queries: Queries
    committer: Committer
    clock: Clock
    event_retention: int
    trimmed: Callable[[int], None]

    async def once(self) -> bool:
        """Forget what is due; return whether there is more."""
        now = self.clock()
        jobs = await self.queries.run(self.store.expired_jobs, now, JOBS_AT_ONCE)
        if jobs:
            await self.committer.submit(RemoveExpired(jobs))
        through = await self._write(self.writes.trim_events, now - self.event_retention, ROWS_AT_ONCE)
        if through is not None:
            self.trimmed(through)
        await self._write(self.writes.trim_limits, now - FORGOTTEN, ROWS_AT_ONCE)
        requests = await self._write(self.writes.trim_requests, now - REQUESTS_KEPT, ROWS_AT_ONCE)
        return len(jobs) == JOBS_AT_ONCE or through is not None or requests == ROWS_AT_ONCE

    def _write(self, forget: Callable[[int, int], Any], before: int, limit: int) -> Awaitable[Any]:
        return self.committer.maintain(lambda: forget(before, limit))
