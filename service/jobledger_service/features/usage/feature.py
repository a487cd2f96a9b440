"""Usage in one server process: what was called is noted by a duty, and told to operators."""

from collections.abc import Callable
from functools import partial

import structlog

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import OPERATORS, Queries
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.store.engines import Database
from jobledger_service.settings import Settings
from jobledger_service.transport.usage import Usage

from .api import UsageCalls
from .duty import UsageDuty
from .queries import UsageQueries
from .store import SqlUsageStore

log = structlog.get_logger(__name__)

DAY_SECONDS = 86_400


class UsageFeature:
    """Keeps `counted`, what the transport counts, by day; and when keys were last used, which `take_used` tells."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        committer: Committer,
        queries: Queries,
        clock: Clock,
        counted: Usage,
        take_used: Callable[[], dict[str, int]],
        note_used: Callable[[dict[str, int]], None],
    ) -> None:
        store, kept = SqlUsageStore(database), settings.usage_retention / DAY_SECONDS
        self._duty = UsageDuty(counted, store, take_used, note_used, committer, clock, kept)
        self.calls = UsageCalls(UsageQueries(store, partial(queries.run_for, OPERATORS), queries.tokens))

    async def once(self) -> bool:
        """Note what was called since this was last done."""
        return await self._duty.once()

    async def note_last(self) -> None:
        """Note what was called since it was last noted; for the end, when no call runs any more."""
        try:
            await self.once()
        except Refusal as refusal:
            log.warning("the latest usage counts were lost", why=str(refusal))
