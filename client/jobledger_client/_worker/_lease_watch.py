"""The stream that names the leases which a worker process is to check, on a thread of its own."""

import logging
from collections.abc import Sequence

from jobledger_client._error_groups import JobledgerError
from jobledger_client._retry import may_resume
from jobledger_client._sync._leases import LeaseCalls
from jobledger_client._worker._leases import HeldLeases

logger = logging.getLogger("jobledger_client.worker")

_RETRY_SECONDS = 5.0
_REFUSED_RETRY_SECONDS = 60.0  # where the service has no such stream for this worker


class LeaseWatch:
    """Makes leases due for a heartbeat as soon as the service names them; the heartbeat returns their status.

    Without the stream, the heartbeat of each interval does the same: no failure here stops work.
    """

    def __init__(self, calls: LeaseCalls, leases: HeldLeases, worker: str, kinds: Sequence[str]) -> None:
        self._calls = calls
        self._leases = leases
        self._worker = worker
        self._kinds = kinds
        self._is_refused = False

    def run(self) -> None:
        """Follow the stream from the first lease on, until the leases are closed."""
        if not self._leases.wait_for_lease():
            return
        while not self._leases.closed:
            wait_seconds = _RETRY_SECONDS
            try:
                wait_seconds = self.follow()
            except Exception:
                if not self._leases.closed:
                    logger.exception("the watch of leases continues after an error")
            if self._leases.wait_closed(wait_seconds):
                return

    def follow(self) -> float:
        """Follow the stream until it gives up; return after how many seconds to try again."""
        try:
            for message in self._calls.watch_leases(worker=self._worker, kinds=self._kinds):
                self._is_refused = False
                if message.check_all:
                    self._leases.check_all()
                elif message.job_ids:
                    self._leases.check(message.job_ids)
        except JobledgerError as error:
            if not may_resume(error):
                self._log_refusal(error)
                return _REFUSED_RETRY_SECONDS
            logger.debug("the watch of leases failed: %s", error)
        return _RETRY_SECONDS

    def _log_refusal(self, error: JobledgerError) -> None:
        if not self._is_refused and not self._leases.closed:
            logger.warning("the service refused the watch of leases; heartbeats replace it: %s", error)
        self._is_refused = True
