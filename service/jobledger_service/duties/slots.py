"""Slots that came free, for the jobs that wait for one."""

from dataclasses import dataclass
from typing import Final

from jobledger_service.ledger.commands import GrantSlots
from jobledger_service.ledger.committer import Committer
from jobledger_service.ledger.queries import Queries
from jobledger_service.ledger.read_ports import ReadStore

AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class SlotDuty:
    """Looks for free slots by a cheap read; the command looks again before it grants one."""

    store: ReadStore
    queries: Queries
    committer: Committer

    async def once(self) -> bool:
        """Grant what is free; return whether there may be more."""
        jobs = await self.queries.run(self.store.free_slots, AT_ONCE)
        granted = await self.committer.submit(GrantSlots(jobs)) if jobs else 0
        return granted > 0
