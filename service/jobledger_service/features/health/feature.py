"""The health of the server and its database: GetSystemHealth, the duty that checks it, and its metrics."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.writer_level import may_write
from jobledger_service.transport.methods import Calls

from .api import METHODS, HealthCalls
from .checker import HealthChecker
from .metrics import VitalsCollector

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class HealthDuty:
    """`show_serving` is called when the server goes out of service, and when it is back; `lost_after` is in seconds.

    `on_outdated` is called with the database's lowest writer level when this server may no longer write there.
    """

    health_checker: HealthChecker
    lost_after: float
    show_serving: Callable[[bool], None]
    on_outdated: Callable[[int], object]
    _lost_since: float | None = field(default=None, init=False)
    _out_of_service: bool = field(default=False, init=False)

    async def once(self) -> bool:
        """Check once; return False."""
        health = await self.health_checker.check()
        now = asyncio.get_running_loop().time()
        store = health.vitals.store
        if store is not None and not may_write(store.writer_level):
            self.on_outdated(store.writer_level)
        if store is not None:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        await self._show(out=self._lost_since is not None and now - self._lost_since >= self.lost_after)
        return False

    async def _show(self, *, out: bool) -> None:
        if out == self._out_of_service:
            return
        self._out_of_service = out
        if out:
            log.error(
                "the database is unreachable: health reports NOT_SERVING until it is back",
                seconds=self.lost_after,
            )
        else:
            log.info("the database is back: health reports SERVING")
        self.show_serving(not out)


def health(kernel: Kernel) -> Feature:
    """Return what health adds to a server."""
    settings, checker = kernel.settings, HealthChecker(kernel)
    duty = HealthDuty(checker, settings.health_database_lost, kernel.calls.health.show, kernel.database.on_outdated)
    return Feature(
        calls=[Calls(METHODS, HealthCalls(checker, kernel.database.dialect.kind, kernel.clock()))],
        duties=[Duty("health", duty.once, settings.health_interval)],
        collectors=[VitalsCollector(checker)],
    )
