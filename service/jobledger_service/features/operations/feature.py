"""Jobs as google.longrunning operations."""

from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.transport.methods import Calls

from .api import METHODS, OperationsService


def _open(kernel: Kernel) -> ServerParts:
    return ServerParts(calls=[Calls(METHODS, OperationsService(kernel))])


feature = Feature(_open)
