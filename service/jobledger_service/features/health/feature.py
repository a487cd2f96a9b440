"""The health of the server and its database: GetSystemHealth, the duty that checks it, and its metrics."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.transport.methods import Calls

from .api import METHODS, HealthCalls
from .checker import HealthChecker
from .duty import HealthDuty
from .metrics import VitalsCollector


def health(kernel: Kernel) -> Feature:
    """Return what health adds to a server."""
    settings, checker = kernel.settings, HealthChecker(kernel)
    duty = HealthDuty(checker, settings.health_database_lost, kernel.calls.health.show, kernel.database.on_outdated)
    return Feature(
        calls=[Calls(METHODS, HealthCalls(checker, kernel.database.dialect.kind, kernel.clock()))],
        duties=[Duty("health", duty.once, settings.health_interval)],
        collectors=[VitalsCollector(checker)],
    )
