"""The leases that a process holds: when each is to be extended, and when it is over by the process's own clock."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobledger_client._errors import JobledgerError
from jobledger_client._worker._pending import PendingReport


class Leaseholder(Protocol):
    """What holds a lease: an attempt at a chunk. Its methods are called from other threads than its own."""

    @property
    def lease_token(self) -> str:
        """The lease's name."""

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
    """One lease. Times are of the monotonic clock; `extended_at` is when the call that extended it was sent."""

    holder: Leaseholder
    extended_at: float
    due: float


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
        self._has_reports = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process has done with its leases."""
        return self._closed

    def add(self, holder: Leaseholder) -> None:
        """Keep this lease from now on."""
        now = self.clock()
        with self._changed:
            self._held[holder.lease_token] = HeldLease(holder, now, now + self.interval)
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

    def due(self) -> list[HeldLease]:
        """Return the leases that are to be extended, or whose holders have something to report."""
        with self._changed:
            self._has_reports = False
            now = self.clock()
            return [lease for lease in self._held.values() if lease.due <= now or lease.holder.pending]

    def extended(self, lease: HeldLease, sent_at: float) -> bool:
        """Note that a call sent at `sent_at` extended the lease; return whether it is still held."""
        with self._changed:
            lease.extended_at, lease.due = sent_at, sent_at + self.interval
            return lease.holder.lease_token in self._held

    def remove_over(self) -> list[HeldLease]:
        """Remove and return the leases that are over."""
        with self._changed:
            now = self.clock()
            over = [lease for lease in self._held.values() if now >= lease.extended_at + self.duration]
            for lease in over:
                del self._held[lease.holder.lease_token]
            return over

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
