"""Usage: GetUsage, a method of AdminService, and the duty that keeps what the transport counts, by day."""

from functools import partial

import structlog

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.ledger.queries import OPERATORS
from jobledger_service.core.model.errors import Refusal
from jobledger_service.transport.methods import Calls

from .api import METHODS, UsageCalls
from .duty import UsageDuty
from .queries import UsageQueries
from .store import SqlUsageStore

log = structlog.get_logger(__name__)

DAY_SECONDS = 86_400


def usage(kernel: Kernel) -> Feature:
    """Return what usage adds to a server."""
    store, retention_days = SqlUsageStore(kernel.database), kernel.settings.usage_retention / DAY_SECONDS
    duty = UsageDuty(kernel.usage, store, kernel.committer, kernel.clock, retention_days)
    queries = UsageQueries(store, partial(kernel.queries.run_for, OPERATORS), kernel.queries.tokens)

    async def record_last() -> None:
        try:
            await duty.once()
        except Refusal as refusal:
            log.warning("the latest usage counts were lost", why=str(refusal))

    return Feature(
        calls=[Calls(METHODS, UsageCalls(queries))],
        duties=[Duty("usage", duty.once, kernel.settings.usage_interval)],
        close=record_last,
    )
