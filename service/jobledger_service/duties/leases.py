"""Leases that ran out, retries that are due, cancellations whose grace is over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobledger_service.ledger.commands import ExpireLeases, ReadyRetries, StopOverdue
from jobledger_service.ledger.committer import Committer
from jobledger_service.ledger.ports import Clock
from jobledger_service.ledger.queries import Queries
from jobledger_service.ledger.read_ports import ReadStore

AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class LeaseDuty:
    """Looks for what is due by a cheap read; the command looks again before it changes anything."""

    store: ReadStore
    queries: Queries
    committer: Committer
    clock: Clock
    roll: Callable[[], float]

    async def once(self) -> bool:
        """Do what is due; return whether there is more."""
        now = self.clock()
        expired = await self.queries.run(self.store.expired_leases, now, AT_ONCE)
        if expired:
            await self.committer.submit(ExpireLeases([(key, self.roll()) for key in expired]))
        due = await self.queries.run(self.store.due_retries, now, AT_ONCE)
        if due:
            await self.committer.submit(ReadyRetries(due))
        overdue = await self.queries.run(self.store.overdue_cancels, now, AT_ONCE)
        if overdue:
            await self.committer.submit(StopOverdue(overdue))
        return AT_ONCE in (len(expired), len(due), len(overdue))
