"""ImportService: jobs from another system, with their history."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.transport.methods import Calls

from .api import METHODS, ImportService


def imports(kernel: Kernel) -> Feature:
    """Return what imports add to a server."""
    service = ImportService(kernel.committer, kernel.request_context, kernel.new_id)
    return Feature(calls=[Calls(METHODS, service)])
