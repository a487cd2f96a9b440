"""Folds the rollups of hours that are over into running totals."""

from dataclasses import dataclass
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import ReadStore
from jobledger_service.core.ledger.write_ports import Upkeep
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.rollup import HOUR

FOLD_DELAY: Final = 60 * SECOND
"""The time after an hour's end before it is folded, as transactions that began in it may still write to it."""


@dataclass(frozen=True, slots=True)
class FoldingDuty:
    """Folds in small steps, on the writer's thread, so that no caller waits long behind it."""

    store: ReadStore
    upkeep: Upkeep
    queries: Queries
    committer: Committer
    clock: Clock

    async def once(self) -> bool:
        """Fold the due rollups of one hour; return whether there may be more."""
        due = await self.queries.run(self.store.unfolded, (self.clock() - FOLD_DELAY) // HOUR)
        if due is None:
            return False
        return bool(await self.committer.run_on_writer(lambda: self.upkeep.fold(*due)))
