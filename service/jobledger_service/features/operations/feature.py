"""google.longrunning.Operations over jobs."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.transport.methods import Calls

from .api import METHODS, OperationsService


def operations(kernel: Kernel) -> Feature:
    """Return what operations add to a server."""
    return Feature(calls=[Calls(METHODS, OperationsService(kernel))])
