"""The leases that a process holds: when each is to be extended, and when it is over by the process's own clock."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Protocol

from jobledger_client._errors import JobledgerError
from jobledger_client._worker._pending import PendingReport

_REMEMBERED = 10.0  # seconds for which leases to check are remembered: a claim's answer may be on its way
_MAX_REMEMBERED = 10_000  # jobs; of more, all leases are checked that are added meanwhile


class Leaseholder(Protocol):
    """What holds a lease: an attempt at a chunk. Its methods are called from other threads than its own."""

    @property
    def lease_token(self) -> str:
        """The lease's name."""

    @property
    def job_id(self) -> str:
        """The job of its chunk."""

    @property
    def pending(self) -> PendingReport:
        """What there is to report."""

    def cancel_requested(self) -> None:
        """Stop: the job is cancelled."""

    def lease_lost(self) -> None:
        """Stop: the chunk is somebody else's."""

    def lease_over(self, silence: float) -> None:
        """Stop: the service was not reached for so many seconds, and the lease has ended meanwhile."""

    def refused(self, error: JobledgerError) -> None:
        """Stop: the service does not accept what was reported."""


@dataclass(slots=True)
class HeldLease:
    """One lease. Times are of the monotonic clock.

    `extended_at` is when the call was sent that extended it; `named_at` is when it was named to be checked. It is not
    extended after `kept_until`.
    """

    holder: Leaseholder
    extended_at: float
    due: float
    kept_until: float
    named_at: float = -inf


class HeldLeases:
    """All leases of one process. Any thread may use it. Times are in seconds.

    A lease is over `duration` after the call was sent that extended it last: the service counts from a later moment, so
    nobody else has the chunk before that.
    """

    def __init__(self, duration: float, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.duration = duration
        self.interval = interval
        self.clock = clock
        self._changed = threading.Condition()
        self._held: dict[str, HeldLease] = {}
        self._named: dict[str, float] = {}
        self._all_named_at = -inf
        self._has_reports = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process has done with its leases."""
        return self._closed

    def add(self, holder: Leaseholder, keep_for: float = inf) -> None:
        """Keep this lease from now on, for so many seconds at most."""
        now = self.clock()
        with self._changed:
            lease = self._held[holder.lease_token] = HeldLease(holder, now, now + self.interval, now + keep_for)
            if max(self._all_named_at, self._named.get(holder.job_id, -inf)) + _REMEMBERED > now:
                lease.due = lease.named_at = now
            self._changed.notify_all()

    def remove(self, holder: Leaseholder) -> None:
        """Let this lease go."""
        with self._changed:
            self._held.pop(holder.lease_token, None)

    def wake(self) -> None:
        """Note that a holder has something to report."""
        if self._has_reports:
            return  # handlers may report thousands of times a second
        with self._changed:
            self._has_reports = True
            self._changed.notify_all()

    def check(self, job_ids: Collection[str]) -> None:
        """Make the leases of these jobs due now, and those that are added within seconds."""
        with self._changed:
            now = self.clock()
            self._named = {job_id: at for job_id, at in self._named.items() if at + _REMEMBERED > now}
            self._named.update(dict.fromkeys(job_ids, now))
            if len(self._named) > _MAX_REMEMBERED:
                self._named.clear()
                self._all_named_at = now
            jobs = frozenset(job_ids)
            self._name([lease for lease in self._held.values() if lease.holder.job_id in jobs], now)

    def check_all(self) -> None:
        """Make all leases due now, and those that are added within seconds."""
        with self._changed:
            self._all_named_at = self.clock()
            self._name(list(self._held.values()), self._all_named_at)

    def _name(self, leases: Collection[HeldLease], now: float) -> None:
        for lease in leases:
            lease.due = lease.named_at = now
        if leases:
            self._changed.notify_all()

    def due(self) -> list[HeldLease]:
        """Return the leases that are to be extended, or whose holders have something to report."""
        with self._changed:
            self._has_reports = False
            now = self.clock()
            return [lease for lease in self._held.values() if lease.due <= now or lease.holder.pending]

    def extended(self, lease: HeldLease, sent_at: float) -> bool:
        """Note that a call sent at `sent_at` extended the lease; return whether it is still held.

        A lease that was named after the call was sent stays due: its answer may be from before.
        """
        with self._changed:
            lease.extended_at = sent_at
            if lease.named_at <= sent_at:
                lease.due = sent_at + self.interval
            return lease.holder.lease_token in self._held

    def remove_over(self) -> list[HeldLease]:
        """Remove and return the leases that are over."""
        with self._changed:
            now = self.clock()
            return self._remove([lease for lease in self._held.values() if now >= lease.extended_at + self.duration])

    def remove_overdue(self) -> list[HeldLease]:
        """Remove and return the leases that were kept for as long as they may be."""
        with self._changed:
            now = self.clock()
            return self._remove([lease for lease in self._held.values() if now >= lease.kept_until])

    def _remove(self, leases: list[HeldLease]) -> list[HeldLease]:
        for lease in leases:
            del self._held[lease.holder.lease_token]
        return leases

    def seconds_left(self, at_most: float) -> float:
        """Return in how many seconds the first of them is over."""
        with self._changed:
            now = self.clock()
            ends = [lease.extended_at + self.duration - now for lease in self._held.values()]
        return max(0.0, min([at_most, *ends]))

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
        """Block for so long, or until closed; return whether it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            return self._closed

    def close(self) -> None:
        """End the waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
