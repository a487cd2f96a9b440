"""Free slots, for the jobs that wait for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows

from .commands import GrantSlots
from .store import LimitStore

JOBS_PER_STEP: Final = 500


@dataclass(frozen=True, slots=True)
class SlotDuty:
    """Finds free slots with a cheap read; the command checks again before it grants one."""

    store: LimitStore
    queries: Queries
    committer: Committer
    unreadable: UnreadableRows

    async def once(self) -> bool:
        """Grant the free slots; return whether there may be more."""
        jobs = await self.queries.run(self.store.free_slots, JOBS_PER_STEP)
        granted = 0

        async def grant(some: Sequence[str]) -> int:
            nonlocal granted
            count, done = await self.committer.submit(GrantSlots(some))
            granted += count
            return done

        await submit_bisecting(jobs, grant, "slots", self.unreadable)
        return granted > 0
