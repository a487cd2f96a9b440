"""Expired leases, due retries, and cancellations whose grace period is over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from .bisection import submit_bisecting
from .commands import Command, ExpireLeases, ReadyRetries, StopOverdue
from .committer import Committer
from .ports import Clock
from .queries import Queries
from .read_ports import ReadStore
from .unreadable_rows import UnreadableRows

Row = TypeVar("Row")

ROWS_PER_STEP: Final = 500


@dataclass(frozen=True, slots=True)
class LeaseDuty:
    """Finds due work with a cheap read; the command checks it again before it changes anything.

    A lease is expired `delay` microseconds after its end: reports from before its end have been applied by then.
    """

    store: ReadStore
    queries: Queries
    committer: Committer
    clock: Clock
    sample_jitter: Callable[[], float]
    unreadable: UnreadableRows
    delay: int

    async def once(self) -> bool:
        """Do what is due; return whether there is more."""
        now = self.clock()
        expired = await self.queries.run(self.store.expired_leases, now - self.delay, ROWS_PER_STEP)
        await self._each(expired, lambda keys: ExpireLeases([(key, self.sample_jitter()) for key in keys], self.delay))
        due = await self.queries.run(self.store.due_retries, now, ROWS_PER_STEP)
        await self._each(due, ReadyRetries)
        overdue = await self.queries.run(self.store.overdue_cancels, now, ROWS_PER_STEP)
        await self._each(overdue, StopOverdue)
        return ROWS_PER_STEP in (len(expired), len(due), len(overdue))

    async def _each(self, rows: Sequence[Row], command: Callable[[Sequence[Row]], Command[int, int]]) -> None:
        await submit_bisecting(rows, lambda some: self.committer.submit(command(some)), "leases", self.unreadable)
