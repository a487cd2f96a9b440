"""Quotas: what AdminService does with them, and how many watches owners may open."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.transport.methods import Calls

from .api import METHODS, QuotaCalls
from .store import SqlQuotaStore
from .watch_bounds import WatchBounds


def quotas(kernel: Kernel) -> Feature:
    """Return what quotas add to a server, beside their family."""
    store, read = SqlQuotaStore(kernel.database), kernel.readers.for_server
    watch_bounds = WatchBounds(lambda owners: read(store.find, owners), kernel.quotas.defaults.max_watches)
    return Feature(calls=[Calls(METHODS, QuotaCalls(kernel, store, watch_bounds))], max_watches=watch_bounds)
