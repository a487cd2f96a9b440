"""One verb over many jobs: methods of JobService, and the runs that carry them out."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.model.service_kinds import BULK
from jobledger_service.transport.methods import Calls

from .api import METHODS, BulkCalls
from .duty import BulkRuns


def bulk(kernel: Kernel) -> Feature:
    """Return what verbs over many jobs add to a server."""
    return Feature(calls=[Calls(METHODS, BulkCalls(kernel))], chunk_handlers={BULK: BulkRuns(kernel).work})
