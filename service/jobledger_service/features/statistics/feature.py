"""Statistics: GetJobStats, a method of JobService, the folding of hours that are over, and the retention of figures."""

from functools import partial
from typing import Final

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import HOUR, SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, StatisticsCalls
from .store import SqlStatisticsStore

FOLD_DELAY: Final = 60 * SECOND
"""The time after an hour's end before it is folded, as transactions that began in it may still write to it."""
TOTALS_PER_STEP: Final = 200


def statistics(kernel: Kernel) -> Feature:
    """Return what statistics add to a server."""
    store = SqlStatisticsStore(kernel.database)
    retention = round(kernel.settings.statistics_retention * SECOND)
    committer = kernel.committer

    async def once() -> bool:
        """Fold what is due of one hour, and forget some of what is too old; return whether there may be more."""
        due, folded = await kernel.readers.for_server(store.unfolded, (kernel.clock() - FOLD_DELAY) // HOUR), 0
        if due is not None:
            folded = await committer.run_on_writer(partial(store.fold, *due))
        trim = partial(store.trim, kernel.clock() - retention, TOTALS_PER_STEP)
        return await committer.run_on_writer(trim, TOTALS_PER_STEP) == TOTALS_PER_STEP or folded > 0

    return Feature(
        calls=[Calls(METHODS, StatisticsCalls(store, kernel))],
        duties=[Duty("statistics", once, kernel.settings.retention_interval)],
    )
