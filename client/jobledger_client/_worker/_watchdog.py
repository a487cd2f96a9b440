"""The watchdog: it stops work whose lease has ended, drops overdue leases, and detects a blocked event loop."""

import logging

from jobledger_client._worker._leases import HeldLeases
from jobledger_client._worker._loop_monitor import LoopMonitor

logger = logging.getLogger("jobledger_client.worker")

_TICK_SECONDS = 0.5


class Watchdog:
    """Runs on a thread of its own, so that neither a hanging call nor a blocked loop delays its checks."""

    def __init__(self, leases: HeldLeases, monitor: LoopMonitor | None) -> None:
        self._leases = leases
        self._monitor = monitor

    def run(self) -> None:
        """Check until the leases are closed."""
        while not self._leases.wait_closed(self._leases.seconds_until_expiry(_TICK_SECONDS)):
            try:
                self.check()
            except Exception:
                logger.exception("the watchdog continues after an error")

    def check(self) -> None:
        """Check once."""
        for lease in self._leases.remove_expired():
            if self._leases.ends_with_attempt(lease):
                lease.holder.attempt_timed_out()
            else:
                lease.holder.lease_expired(self._leases.clock() - lease.extended_at)
        for lease in self._leases.remove_overdue():
            logger.error("%s cannot be stopped after its timeout; its lease is no longer extended", lease.holder)
        if self._monitor is not None:
            self._monitor.check(self._leases.clock())
