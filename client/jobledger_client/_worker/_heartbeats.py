"""Heartbeats: all leases that are due, or have something to report, in few calls, from a thread of their own."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from jobledger.v1.worker_service_pb2 import HeartbeatResult, LeaseReport, LeaseStatus

from jobledger_client._errors import JobledgerError
from jobledger_client._sync._leases import LeaseCalls
from jobledger_client._worker._batches import MIN_REPORT_BYTES, batches, is_refusal, is_too_large
from jobledger_client._worker._leases import HeldLease, HeldLeases
from jobledger_client._worker._pending import MAX_REPORT_BYTES, Taken

logger = logging.getLogger("jobledger_client.worker")

_SPACING = 0.5  # seconds between two rounds
_GATHERING = 0.1  # seconds that a report waits for others, and for the end of a short chunk, which carries it
_MAX_TIMEOUT = 10.0  # seconds for one call, unless the interval is longer


class Heartbeats:
    """Extends every lease each interval, and carries reports at most each half second.

    It runs on a thread with a connection of its own: a handler that blocks the event loop loses no lease.
    """

    def __init__(self, calls: LeaseCalls, leases: HeldLeases) -> None:
        self._calls = calls
        self._leases = leases
        self._lease_duration = timedelta(seconds=leases.duration)
        self._timeout = max(leases.interval, min(leases.duration / 3, _MAX_TIMEOUT))

    def run(self) -> None:
        """Extend leases until they are closed."""
        spacing = min(_SPACING, self._leases.interval / 2)
        while self._leases.wait_for_due():
            if self._leases.wait_closed(min(_GATHERING, spacing)):
                return
            try:
                self.beat()
            except Exception:
                if not self._leases.closed:
                    logger.exception("heartbeats continue after an error")
            if self._leases.wait_closed(spacing):
                return

    def beat(self) -> None:
        """Make one round."""
        self._send(self._leases.due(), MAX_REPORT_BYTES)

    def _send(self, due: Sequence[HeldLease], max_bytes: int) -> None:
        taken = [(lease, lease.holder.pending.take(max_bytes)) for lease in due]
        for batch in batches(taken, lambda one: one[1].report.ByteSize() + len(one[0].holder.lease_token)):
            self._send_batch(batch, max_bytes)

    def _send_batch(self, batch: Sequence[tuple[HeldLease, Taken]], max_bytes: int) -> None:
        sent_at = self._leases.clock()
        reports = [LeaseReport(lease_token=lease.holder.lease_token, progress=taken.report) for lease, taken in batch]
        try:
            results = self._calls.heartbeat(reports, lease_duration=self._lease_duration, timeout=self._timeout)
        except JobledgerError as error:
            if is_refusal(error):
                self._send_apart(batch, max_bytes, error)
            elif not self._leases.closed:
                logger.warning("heartbeat for %d chunks failed, more will follow: %s", len(batch), error)
        else:
            self._apply(batch, results, sent_at)

    def _send_apart(self, batch: Sequence[tuple[HeldLease, Taken]], max_bytes: int, error: JobledgerError) -> None:
        """One report refuses its whole call: send each alone, so that it refuses itself only."""
        if len(batch) > 1:
            for one in batch:
                self._send_batch([one], max_bytes)
            return
        [(lease, taken)] = batch
        if is_too_large(error) and max_bytes > MIN_REPORT_BYTES:
            self._send([lease], max_bytes // 4)
            return
        lease.holder.pending.confirm(taken)  # or it would be refused again with each heartbeat
        lease.holder.refused(error)

    def _apply(
        self, batch: Sequence[tuple[HeldLease, Taken]], results: Sequence[HeartbeatResult], sent_at: float
    ) -> None:
        for (lease, taken), result in zip(batch, results, strict=True):
            if not self._leases.extended(lease, sent_at):
                continue  # it ended while the call was on its way
            if result.status == LeaseStatus.LEASE_STATUS_LEASE_LOST:
                self._leases.remove(lease.holder)
                lease.holder.lease_lost()
                continue
            lease.holder.pending.confirm(taken)
            if not taken.is_all:
                self._leases.wake()
            if result.status == LeaseStatus.LEASE_STATUS_CANCEL_REQUESTED:
                lease.holder.cancel_requested()
