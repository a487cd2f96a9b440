"""Keeps the leases of one process: heartbeats, a watch of leases and a watchdog, on threads with a connection."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf

from jobledger_client._sync._client import JobClient
from jobledger_client._worker._heartbeats import Heartbeats
from jobledger_client._worker._lease_watch import LeaseWatch
from jobledger_client._worker._leases import HeldLeases, Leaseholder
from jobledger_client._worker._loop_monitor import LoopMonitor
from jobledger_client._worker._watchdog import Watchdog

_JOIN_SECONDS = 1.0  # for a thread to end; one that waits to repeat a call ends by itself soon after


class LeaseKeeper:
    """Extends the leases that are added, each `interval`, and stops their holders when they expire.

    A lease that the service names is checked at once. `worker` is the name of this process; `kinds` are those that it
    works on, all when empty.
    """

    def __init__(
        self,
        open_client: Callable[[], JobClient],
        lease_duration: timedelta,
        interval: timedelta,
        monitor: LoopMonitor | None = None,
        *,
        worker: str,
        kinds: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leases = HeldLeases(lease_duration.total_seconds(), interval.total_seconds(), clock)
        self._client = open_client()
        runs = {
            "jobledger-heartbeats": Heartbeats(self._client.leases, self.leases).run,
            "jobledger-lease-watch": LeaseWatch(self._client.leases, self.leases, worker, kinds).run,
            "jobledger-watchdog": Watchdog(self.leases, monitor).run,
        }
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in runs.items()]

    def start(self) -> None:
        """Start the threads. They send nothing before a lease is added."""
        for thread in self._threads:
            thread.start()

    async def close(self) -> None:
        """End the threads and the connection. A heartbeat in flight is cancelled."""
        self.leases.close()
        self._client.close()
        await asyncio.gather(*(asyncio.to_thread(thread.join, _JOIN_SECONDS) for thread in self._threads))

    def add(self, holder: Leaseholder, max_seconds: float = inf, granted: tuple[int, int] | None = None) -> None:
        """Extend this lease from now on, as HeldLeases.add says."""
        self.leases.add(holder, max_seconds, granted)

    def remove(self, holder: Leaseholder) -> None:
        """Stop extending this lease."""
        self.leases.remove(holder)

    def wake(self) -> None:
        """Send the pending reports now."""
        self.leases.wake()


def checked_interval(lease_duration: timedelta, interval: timedelta | None) -> timedelta:
    """Return the interval; None means a third of the lease. Raises ValueError for one that would lose the lease.

    A heartbeat is sent up to 0.6 s after it is due, and an interval of half the lease leaves time to repeat one.
    """
    if interval is None:
        return lease_duration / 3
    if not timedelta(0) < interval <= lease_duration / 2:
        raise ValueError(
            "heartbeat_interval must be more than 0 s and at most half of lease_duration, "
            f"{lease_duration.total_seconds() / 2:g} s; got {interval.total_seconds():g} s"
        )
    return interval
