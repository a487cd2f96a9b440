"""The watchdog: stops work whose lease is over, gives up leases, and notices an event loop that is blocked."""

import logging

from jobledger_client._worker._leases import HeldLeases
from jobledger_client._worker._loop_monitor import LoopMonitor

logger = logging.getLogger("jobledger_client.worker")

_TICK = 0.5  # seconds


class Watchdog:
    """Runs on a thread of its own, so that neither a call that hangs nor a blocked loop keeps it from its checks."""

    def __init__(self, leases: HeldLeases, monitor: LoopMonitor | None) -> None:
        self._leases = leases
        self._monitor = monitor

    def run(self) -> None:
        """Check until the leases are closed."""
        while not self._leases.wait_closed(self._leases.seconds_left(_TICK)):
            try:
                self.check()
            except Exception:
                logger.exception("the watchdog continues after an error")

    def check(self) -> None:
        """Check once."""
        for lease in self._leases.remove_over():
            lease.holder.lease_over(self._leases.clock() - lease.extended_at)
        for lease in self._leases.remove_overdue():
            logger.error("%s cannot be stopped after its timeout; its lease is extended no longer", lease.holder)
        if self._monitor is not None:
            self._monitor.check(self._leases.clock())
