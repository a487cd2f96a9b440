"""Statistics: GetJobStats, a method of JobService, and the folding of hours that are over."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.transport.methods import Calls

from .api import METHODS, StatisticsCalls
from .duty import FoldingDuty


def statistics(kernel: Kernel) -> Feature:
    """Return what statistics add to a server."""
    folding = FoldingDuty(kernel.store, kernel.upkeep, kernel.queries, kernel.committer, kernel.clock)
    return Feature(
        calls=[Calls(METHODS, StatisticsCalls(kernel.queries, kernel.clock))],
        duties=[Duty("folding", folding.once, kernel.settings.retention_interval)],
    )
