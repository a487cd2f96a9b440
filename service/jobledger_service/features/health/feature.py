"""The health of the server and its database: GetSystemHealth, the duty that checks it, and its metrics."""

from jobledger_service import VERSION
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.transport.methods import Calls

from .api import METHODS, HealthCalls
from .checker import HealthChecker
from .duty import HealthDuty
from .metrics import VitalsCollector
from .replies import ServerInfo
from .rules import Thresholds


def health(kernel: Kernel) -> Feature:
    """Return what health adds to a server."""
    settings, limiter = kernel.settings, kernel.rate_limiter
    thresholds = Thresholds(
        settings.health_database_latency,
        settings.health_commit_stall,
        settings.health_queue_share,
        settings.health_feed_lag,
        settings.health_disk_free,
    )

    async def rate_store_is_up() -> bool:
        return limiter is None or await limiter.check_store()

    checker = HealthChecker(
        kernel.store,
        kernel.queries,
        kernel.committer,
        kernel.feed,
        kernel.active_workers,
        kernel.clock,
        thresholds,
        rate_store_is_up,
    )
    duty = HealthDuty(checker, settings.health_database_lost, kernel.health.show, kernel.database.on_outdated)
    about = ServerInfo(VERSION, kernel.database.dialect.kind, kernel.clock())
    return Feature(
        calls=[Calls(METHODS, HealthCalls(checker, about))],
        duties=[Duty("health", duty.once, settings.health_interval)],
        collectors=[VitalsCollector(lambda: checker.latest)],
    )
