"""Verbs over many jobs: CancelJobs and its like, and the service's own jobs that carry them out."""

from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.transport.methods import Calls

from .api import METHODS, BulkCalls
from .duty import BulkRuns


def _open(kernel: Kernel) -> ServerParts:
    return ServerParts(calls=[Calls(METHODS, BulkCalls(kernel))], chunk_handlers={BULK: BulkRuns(kernel).work})


feature = Feature(_open)
