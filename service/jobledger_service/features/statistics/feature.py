"""Statistics: GetJobStats, and the duty that folds hours that are over and deletes old figures."""

from functools import partial
from typing import Final

from jobledger_service.core.database.maintenance.derived_tables import DerivedTable
from jobledger_service.core.duty import TRIM_SECONDS, Duty
from jobledger_service.core.kernel import Environment, Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import HOUR, SECOND
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.transport.methods import Calls

from .api import METHODS, StatisticsCalls
from .family import Statistics
from .store import SqlStatisticsStore
from .tables import failures, rollups, running_totals

NOT_DERIVED: Final = (
    "neither jobs nor their history hold every wait, run, attempt and artifact of an hour: "
    "jobs are deleted, runs are retried, and history is trimmed"
)
"""The reason why the statistics of past hours cannot be recounted."""
FOLD_DELAY: Final = 60 * SECOND
"""The time after an hour's end before it is folded, as transactions that began in it may still write to it."""
TOTALS_PER_STEP: Final = 200


def _open(kernel: Kernel) -> ServerParts:
    store = SqlStatisticsStore(kernel.database)
    retention = round(kernel.settings.statistics_retention * SECOND)
    committer = kernel.committer

    async def once() -> bool:
        """Fold what is due of one hour, and forget some of what is too old; return whether there may be more."""
        due, folded = await kernel.readers.for_server(store.unfolded, (kernel.clock() - FOLD_DELAY) // HOUR), 0
        if due is not None:
            folded = await committer.run_on_writer(partial(store.fold, *due))
        trim = partial(store.trim, kernel.clock.calendar() - retention, TOTALS_PER_STEP)
        return await committer.run_on_writer(trim, TOTALS_PER_STEP) == TOTALS_PER_STEP or folded > 0

    return ServerParts(
        calls=[Calls(METHODS, StatisticsCalls(store, kernel))],
        duties=[Duty("statistics", once, TRIM_SECONDS)],
    )


def _families(environment: Environment) -> list[OpenFamily]:
    return [partial(Statistics, environment.database.dialect)]


feature = Feature(
    _open, _families, [DerivedTable(table.name, reason=NOT_DERIVED) for table in (rollups, running_totals, failures)]
)
