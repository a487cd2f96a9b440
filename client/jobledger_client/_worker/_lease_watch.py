"""The stream that tells a worker process which of its leases to check, on a thread of its own."""

import logging
from collections.abc import Sequence
from random import random

from jobledger_client._errors import JobledgerError
from jobledger_client._retry import Backoff, may_resume
from jobledger_client._sync._client import JobClient
from jobledger_client._worker._leases import HeldLeases

logger = logging.getLogger("jobledger_client.worker")

_LONG_WAIT = 60.0  # seconds until it tries again where the service has no such stream for it


class LeaseWatch:
    """Makes leases due for a heartbeat as soon as the service says so; the heartbeat then tells how they fare.

    Without the stream, heartbeats tell the same each interval: whatever fails here stops no work.
    """

    def __init__(self, client: JobClient, leases: HeldLeases, worker: str, kinds: Sequence[str]) -> None:
        self._client = client
        self._leases = leases
        self._worker = worker
        self._kinds = kinds
        self._backoff = Backoff(initial=0.2, ceiling=5.0)
        self._failures = 0
        self._is_refused = False

    def run(self) -> None:
        """Follow the stream from the first lease on, until the leases are closed."""
        if not self._leases.wait_for_lease():
            return
        while not self._leases.closed:
            wait = self._backoff.ceiling
            try:
                wait = self.follow()
            except Exception:
                if not self._leases.closed:
                    logger.exception("the watch of leases continues after an error")
            if self._leases.wait_closed(wait):
                return

    def follow(self) -> float:
        """Follow one stream to its end; return how many seconds to wait for the next."""
        error = None
        try:
            for message in self._client.watch_leases(worker=self._worker, kinds=self._kinds):
                self._failures, self._is_refused = 0, False
                if message.check_all:
                    self._leases.check_all()
                elif message.job_ids:
                    self._leases.check(message.job_ids)
        except JobledgerError as end:
            error = end
        if error is not None and not may_resume(error):
            return self._refused(error)
        self._failures += 1
        logger.debug("the watch of leases ended: %s", error)
        return self._backoff.wait(self._failures, error, random)

    def _refused(self, error: JobledgerError) -> float:
        if not self._is_refused and not self._leases.closed:
            logger.warning("the service has no watch of leases; heartbeats tell what it would: %s", error)
        self._is_refused = True
        return _LONG_WAIT
