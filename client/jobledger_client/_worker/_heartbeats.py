"""Heartbeats for all leases that are due or have something to report, in few calls, on a thread of their own."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from jobledger.v1.worker_service_pb2 import HeartbeatResult, LeaseReport

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import LeaseStatus
from jobledger_client._status import error_of_entry
from jobledger_client._sync._leases import LeaseCalls
from jobledger_client._worker._batches import MIN_REPORT_BYTES, batches, is_refusal, is_too_large
from jobledger_client._worker._leases import HeldLease, HeldLeases
from jobledger_client._worker._pending import MAX_REPORT_BYTES, ReportSnapshot

logger = logging.getLogger("jobledger_client.worker")

_ROUND_SECONDS = 0.5  # between two rounds
_GATHER_SECONDS = 0.1  # a report waits for others, and for the end of a short chunk, which carries it
_MAX_TIMEOUT_SECONDS = 10.0  # for one call, unless the interval is longer


class Heartbeats:
    """Extends every lease each interval, and sends reports at most each half second.

    It runs on a thread with a connection of its own: a handler that blocks the event loop loses no lease.
    """

    def __init__(self, calls: LeaseCalls, leases: HeldLeases) -> None:
        self._calls = calls
        self._leases = leases
        self._lease_duration = timedelta(seconds=leases.duration_seconds)
        self._timeout = timedelta(
            seconds=max(leases.interval_seconds, min(leases.duration_seconds / 3, _MAX_TIMEOUT_SECONDS))
        )

    def run(self) -> None:
        """Extend leases until they are closed."""
        round_seconds = min(_ROUND_SECONDS, self._leases.interval_seconds / 2)
        while self._leases.wait_for_due():
            if self._leases.wait_closed(min(_GATHER_SECONDS, round_seconds)):
                return
            try:
                self.beat()
            except Exception:
                if not self._leases.closed:
                    logger.exception("heartbeats continue after an error")
            if self._leases.wait_closed(round_seconds):
                return

    def beat(self) -> None:
        """Send one round of heartbeats."""
        self._send(self._leases.due(), MAX_REPORT_BYTES)

    def _send(self, due: Sequence[HeldLease], max_bytes: int) -> None:
        snapshots = [(lease, lease.holder.pending.snapshot(max_bytes)) for lease in due]
        for batch in batches(snapshots, lambda entry: entry[1].report.ByteSize() + len(entry[0].holder.lease_token)):
            self._send_batch(batch, max_bytes)

    def _send_batch(self, batch: Sequence[tuple[HeldLease, ReportSnapshot]], max_bytes: int) -> None:
        sent_at = self._leases.clock()
        reports = [LeaseReport(lease_token=lease.holder.lease_token, progress=sent.report) for lease, sent in batch]
        try:
            results = self._calls.heartbeat(reports, lease_duration=self._lease_duration, timeout=self._timeout)
        except JobledgerError as error:
            if is_refusal(error):
                self._send_separately(batch, max_bytes, error)
            elif not self._leases.closed:
                logger.warning("the heartbeat for %d chunks failed and will be repeated: %s", len(batch), error)
        else:
            self._apply(batch, results, sent_at)

    def _send_separately(
        self, batch: Sequence[tuple[HeldLease, ReportSnapshot]], max_bytes: int, error: JobledgerError
    ) -> None:
        """Send each report alone, smaller if it is too large."""
        if len(batch) > 1:
            for report in batch:
                self._send_batch([report], max_bytes)
            return
        [(lease, sent)] = batch
        if is_too_large(error) and max_bytes > MIN_REPORT_BYTES:
            self._send([lease], max_bytes // 4)
            return
        _drop_refused(lease, sent, error)

    def _apply(
        self, batch: Sequence[tuple[HeldLease, ReportSnapshot]], results: Sequence[HeartbeatResult], sent_at: float
    ) -> None:
        for (lease, sent), result in zip(batch, results, strict=True):
            if result.status == LeaseStatus.REFUSED:
                _drop_refused(lease, sent, error_of_entry(result.error))
                continue
            end = result.expire_time.ToMicroseconds() if result.HasField("expire_time") else 0
            if not self._leases.mark_extended(lease, sent_at, end):
                continue  # it ended during the call
            if result.status == LeaseStatus.LEASE_LOST:
                self._leases.remove(lease.holder)
                lease.holder.lease_lost(result.stop)
                continue
            lease.holder.pending.confirm(sent)
            if not sent.is_all:
                self._leases.wake()
            if result.status == LeaseStatus.CANCEL_REQUESTED:
                lease.holder.cancel_requested(result.stop)


def _drop_refused(lease: HeldLease, sent: ReportSnapshot, error: JobledgerError) -> None:
    """Stop the holder; without the refused report, which would be refused again, its lease can be extended."""
    lease.holder.pending.confirm(sent)
    lease.holder.refused(error)
