"""Retention of deliveries."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock

from .delivery_store import SqlDeliveryStore

ROWS_PER_STEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class WebhookRetention:
    """Expires deliveries that waited too long, and deletes those that ended, in small steps; `retention` is in µs."""

    deliveries: SqlDeliveryStore
    committer: Committer
    clock: Clock
    retention: int

    async def once(self) -> bool:
        """Delete what is due; return whether there is more."""
        now = self.clock()
        trim = partial(self.deliveries.trim_deliveries, now - self.retention, ROWS_PER_STEP, now)
        return await self.committer.run_on_writer(trim, ROWS_PER_STEP) >= ROWS_PER_STEP
