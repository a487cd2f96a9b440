"""Imports of jobs from another system."""

from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.transport.methods import Calls

from .api import METHODS, ImportService


def _open(kernel: Kernel) -> ServerParts:
    service = ImportService(kernel.committer, kernel.request_context, kernel.new_id)
    return ServerParts(calls=[Calls(METHODS, service)])


feature = Feature(_open)
