"""The leases that a process holds: when each is due for a heartbeat, and when it expires by the process's clock."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Protocol

from jobledger.v1.worker_service_pb2 import LeaseStop

from jobledger_client._error_groups import JobledgerError
from jobledger_client._worker._pending import PendingReport

_REMEMBER_SECONDS = 10.0  # for which jobs to check are remembered: the response of a claim may still be in flight
_MICROS = 1_000_000
_FULL = 0.9  # of its duration, for a lease that does not end with its attempt: clocks drift apart in a long attempt
_MAX_REMEMBERED_JOBS = 10_000  # with more, all leases that are added meanwhile are checked


class Leaseholder(Protocol):
    """The holder of a lease: an attempt at a chunk. Other threads than its own call its methods."""

    @property
    def lease_token(self) -> str:
        """The token of the lease."""

    @property
    def job_id(self) -> str:
        """The job of its chunk."""

    @property
    def pending(self) -> PendingReport:
        """What the holder has to report."""

    def cancel_requested(self, stop: LeaseStop) -> None:
        """Stop: the job is cancelled."""

    def lease_lost(self, stop: LeaseStop) -> None:
        """Stop: another worker may have the chunk."""

    def lease_expired(self, silence_seconds: float) -> None:
        """Stop: the service was unreachable for `silence_seconds`, and the lease has expired."""

    def attempt_timed_out(self) -> None:
        """Stop: the attempt took longer than its job allows, and its lease has ended."""

    def refused(self, error: JobledgerError) -> None:
        """Stop: the service refuses the report."""


@dataclass(slots=True)
class HeldLease:
    """One lease. Times are those of the monotonic clock.

    `extended_at` is when the call that extended it was sent; `check_requested_at` is when the service named it. It is
    not extended after `kept_until`. It was added at `added_at`, or `start_micros` by the service's clock; `ends_at` is
    when it ends by what the service said last.
    """

    holder: Leaseholder
    added_at: float
    start_micros: int
    ends_at: float
    extended_at: float
    due: float
    kept_until: float
    check_requested_at: float = -inf


class HeldLeases:
    """All leases of one process. Any thread may use it. Times are in seconds.

    A lease expires `duration` after the last call that extended it was sent. The service counts from a later moment, so
    that no other worker has the chunk before that. A lease that the service ends earlier ends with its attempt.
    """

    def __init__(
        self, duration_seconds: float, interval_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.duration_seconds = duration_seconds
        self.interval_seconds = interval_seconds
        self.clock = clock
        self._changed = threading.Condition()
        self._held: dict[str, HeldLease] = {}
        self._job_checks: dict[str, float] = {}
        self._all_check_requested_at = -inf
        self._has_reports = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process has ended its work with leases."""
        return self._closed

    def add(self, holder: Leaseholder, max_seconds: float = inf, granted: tuple[int, int] | None = None) -> None:
        """Extend this lease from now on, for at most `max_seconds`.

        `granted` are its start and its end by the service's clock, in microseconds.
        """
        now = self.clock()
        start, end = granted or (0, 0)
        ends_at = now + (end - start) / _MICROS if granted else inf
        with self._changed:
            lease = self._held[holder.lease_token] = HeldLease(
                holder, now, start, ends_at, now, now + self.interval_seconds, now + max_seconds
            )
            if max(self._all_check_requested_at, self._job_checks.get(holder.job_id, -inf)) + _REMEMBER_SECONDS > now:
                lease.due = lease.check_requested_at = now
            self._changed.notify_all()

    def remove(self, holder: Leaseholder) -> None:
        """Stop extending this lease."""
        with self._changed:
            self._held.pop(holder.lease_token, None)

    def wake(self) -> None:
        """Send the pending reports now."""
        if self._has_reports:
            return  # handlers may report thousands of times a second
        with self._changed:
            self._has_reports = True
            self._changed.notify_all()

    def check(self, job_ids: Collection[str]) -> None:
        """Make the leases of these jobs due now, and those that are added within seconds."""
        with self._changed:
            now = self.clock()
            self._job_checks = {job_id: at for job_id, at in self._job_checks.items() if at + _REMEMBER_SECONDS > now}
            self._job_checks.update(dict.fromkeys(job_ids, now))
            if len(self._job_checks) > _MAX_REMEMBERED_JOBS:
                self._job_checks.clear()
                self._all_check_requested_at = now
            jobs = frozenset(job_ids)
            self._request_check([lease for lease in self._held.values() if lease.holder.job_id in jobs], now)

    def check_all(self) -> None:
        """Make all leases due now, and those that are added within seconds."""
        with self._changed:
            self._all_check_requested_at = self.clock()
            self._request_check(list(self._held.values()), self._all_check_requested_at)

    def _request_check(self, leases: Collection[HeldLease], now: float) -> None:
        for lease in leases:
            lease.due = lease.check_requested_at = now
        if leases:
            self._changed.notify_all()

    def due(self) -> list[HeldLease]:
        """Return the leases that are due, and those whose holders have something to report."""
        with self._changed:
            self._has_reports = False
            now = self.clock()
            return [lease for lease in self._held.values() if lease.due <= now or lease.holder.pending]

    def mark_extended(self, lease: HeldLease, sent_at: float, end_micros: int = 0) -> bool:
        """Record that a call sent at `sent_at` extended the lease; return whether it is still held.

        `end_micros` is its new end by the service's clock, 0 when unknown. A lease that the service
        named after the call was sent stays due: the response may be older.
        """
        with self._changed:
            lease.extended_at = sent_at
            if lease.start_micros and end_micros:
                lease.ends_at = lease.added_at + (end_micros - lease.start_micros) / _MICROS
            if lease.check_requested_at <= sent_at:
                lease.due = sent_at + self.interval_seconds
            return lease.holder.lease_token in self._held

    def remove_expired(self) -> list[HeldLease]:
        """Remove and return the leases that have expired."""
        with self._changed:
            now = self.clock()
            return self._remove([lease for lease in self._held.values() if now >= self._end_of(lease)])

    def ends_with_attempt(self, lease: HeldLease) -> bool:
        """Whether the service has granted the lease for less than its duration, as its attempt ends."""
        return lease.ends_at < lease.extended_at + self.duration_seconds * _FULL

    def _end_of(self, lease: HeldLease) -> float:
        return lease.ends_at if self.ends_with_attempt(lease) else lease.extended_at + self.duration_seconds

    def remove_overdue(self) -> list[HeldLease]:
        """Remove and return the leases that have reached their maximum time."""
        with self._changed:
            now = self.clock()
            return self._remove([lease for lease in self._held.values() if now >= lease.kept_until])

    def _remove(self, leases: list[HeldLease]) -> list[HeldLease]:
        for lease in leases:
            del self._held[lease.holder.lease_token]
        return leases

    def seconds_until_expiry(self, max_seconds: float) -> float:
        """Return in how many seconds the first lease expires, at most `max_seconds`."""
        with self._changed:
            now = self.clock()
            seconds = [self._end_of(lease) - now for lease in self._held.values()]
        return max(0.0, min([max_seconds, *seconds]))

    def wait_for_due(self) -> bool:
        """Block until a lease is due or there is something to report; return False once closed."""
        with self._changed:
            while not (self._closed or self._has_reports):
                earliest = min((lease.due for lease in self._held.values()), default=None)
                wait = None if earliest is None else earliest - self.clock()
                if wait is not None and wait <= 0:
                    break
                self._changed.wait(wait)
            return not self._closed

    def wait_for_lease(self) -> bool:
        """Block until a lease is held; return False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held)
            return not self._closed

    def wait_closed(self, seconds: float) -> bool:
        """Block for `seconds`, or until closed; return whether it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            return self._closed

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
