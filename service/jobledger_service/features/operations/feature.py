"""google.longrunning.Operations over jobs."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.transport.methods import Calls

from .api import METHODS, OperationsService


def operations(kernel: Kernel) -> Feature:
    """Return what operations add to a server."""
    service = OperationsService(kernel.committer, kernel.queries, kernel.watch, kernel.unreadable)
    return Feature(calls=[Calls(METHODS, service)])
