"""Health of this server and its database: GetSystemHealth, its metrics, and the duty that checks."""

from jobledger_service.core.duty import MEASURE_SECONDS, Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.transport.methods import Calls

from .api import METHODS, HealthCalls
from .checker import HealthChecker
from .metrics import VitalsCollector


def _open(kernel: Kernel) -> ServerParts:
    checker = HealthChecker(kernel)
    return ServerParts(
        calls=[Calls(METHODS, HealthCalls(checker, kernel.database.dialect.kind, kernel.clock()))],
        duties=[Duty("health", checker.once, MEASURE_SECONDS)],
        collectors=[VitalsCollector(checker)],
    )


feature = Feature(_open)
