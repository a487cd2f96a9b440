"""Exports of jobs: ExportJobs."""

from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.transport.methods import Calls

from .api import METHODS, Exports
from .store import SqlExportStore


def _open(kernel: Kernel) -> ServerParts:
    store = SqlExportStore(kernel.database)
    opened = Exports(store, kernel.tokens, kernel.cursors, kernel.unreadable, kernel.feed)
    return ServerParts(calls=[Calls(METHODS, opened)], drain=opened.drain, close=opened.close)


feature = Feature(_open)
