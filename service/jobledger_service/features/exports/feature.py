"""ExportJobs, a method of JobService."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.transport.methods import Calls

from .api import METHODS, ExportCalls
from .export import Exports
from .store import SqlExportStore


def exports(kernel: Kernel) -> Feature:
    """Return what exports add to a server."""
    opened = Exports(SqlExportStore(kernel.database), kernel.tokens, kernel.cursors, kernel.unreadable)
    return Feature(calls=[Calls(METHODS, ExportCalls(opened))], drain=opened.drain, close=opened.close)
