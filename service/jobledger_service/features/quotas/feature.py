"""Quotas of owners: their administration, the guard of batches, and the bounds on open watches."""

from functools import partial

from jobledger_service.core.database.rows.quotas import QuotaRows
from jobledger_service.core.kernel import Environment, Feature, Kernel, ServerParts
from jobledger_service.core.opening import default_bounds
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.transport.methods import Calls

from .api import METHODS, QuotaCalls, WatchBounds
from .family import Quotas
from .store import SqlQuotaStore


def _open(kernel: Kernel) -> ServerParts:
    store = SqlQuotaStore(kernel.database)
    watch_bounds = WatchBounds(kernel, store)
    return ServerParts(
        calls=[Calls(METHODS, QuotaCalls(kernel, store, watch_bounds))],
        max_watches=watch_bounds,
    )


def _families(environment: Environment) -> list[OpenFamily]:
    return [partial(Quotas, QuotaRows(environment.database.dialect), default_bounds(environment.settings))]


feature = Feature(_open, _families)
