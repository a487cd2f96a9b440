"""Statistics: GetJobStats, a method of JobService, the folding of hours that are over, and the retention of figures."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, StatisticsCalls
from .duty import StatisticsDuty
from .store import SqlStatisticsStore


def statistics(kernel: Kernel) -> Feature:
    """Return what statistics add to a server."""
    store = SqlStatisticsStore(kernel.database)
    retention = round(kernel.settings.statistics_retention * SECOND)
    duty = StatisticsDuty(store, kernel.queries, kernel.committer, kernel.clock, retention)
    return Feature(
        calls=[Calls(METHODS, StatisticsCalls(store, kernel.queries, kernel.clock))],
        duties=[Duty("statistics", duty.once, kernel.settings.retention_interval)],
    )
