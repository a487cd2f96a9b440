"""Deliveries that are kept only for a time."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock

from .ports import DeliveryStore

ROWS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class WebhookRetention:
    """Lets deliveries die that waited for too long, and forgets those that ended, in small steps; `kept` is in µs."""

    deliveries: DeliveryStore
    committer: Committer
    clock: Clock
    kept: int

    async def once(self) -> bool:
        """Forget what is due; return whether there is more."""
        now = self.clock()
        trim = partial(self.deliveries.trim_deliveries, now - self.kept, ROWS_AT_ONCE, now)
        return await self.committer.maintain(trim, ROWS_AT_ONCE) >= ROWS_AT_ONCE
