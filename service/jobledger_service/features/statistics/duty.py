"""Folds the rollups of hours that are over into running totals, and forgets totals that are too old."""

from dataclasses import dataclass
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.model.limits import HOUR, SECOND

from .store import SqlStatisticsStore

FOLD_DELAY: Final = 60 * SECOND
"""The time after an hour's end before it is folded, as transactions that began in it may still write to it."""
TOTALS_PER_STEP: Final = 200


@dataclass(frozen=True, slots=True)
class StatisticsDuty:
    """Works in small steps, on the writer's thread, so that no caller waits long behind it.

    `retention` is how long hourly statistics are kept, in microseconds.
    """

    store: SqlStatisticsStore
    queries: Queries
    committer: Committer
    clock: Clock
    retention: int

    async def once(self) -> bool:
        """Fold what is due of one hour, and forget some of what is too old; return whether there may be more."""
        folded = await self._fold()
        return await self._trim() or folded

    async def _fold(self) -> bool:
        due = await self.queries.run(self.store.unfolded, (self.clock() - FOLD_DELAY) // HOUR)
        if due is None:
            return False
        return bool(await self.committer.run_on_writer(lambda: self.store.fold(*due)))

    async def _trim(self) -> bool:
        before = self.clock() - self.retention
        gone = await self.committer.run_on_writer(lambda: self.store.trim(before, TOTALS_PER_STEP), TOTALS_PER_STEP)
        return gone == TOTALS_PER_STEP
