"""The clock: that of the machine, or that of a database that servers share."""

import time
from collections.abc import Callable

from .database_clock import DatabaseClock, newest_commit_time
from .engines import Database

Clock = Callable[[], int]
"""Returns the time in microseconds since 1970."""


class SteadyClock:
    """The time in microseconds since 1970, which never falls.

    It follows the machine's clock forwards. When that is set back it continues by the monotonic clock: leases and waits
    end when they should, and later commits have later times. It starts no earlier than `after`.
    """

    def __init__(
        self, after: int = 0, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = after * 1_000 - monotonic()

    def __call__(self) -> int:
        """Return the time."""
        # in this order: a pause between the two readings makes the difference smaller, and cannot push the time ahead
        wall = self._wall()
        now = self._monotonic()
        self._offset = max(self._offset, wall - now)
        return (now + self._offset) // 1_000


def clock_of(database: Database) -> SteadyClock | DatabaseClock:
    """Return the clock of a ledger."""
    return SteadyClock(newest_commit_time(database)) if database.single_writer else DatabaseClock(database)
