"""The clock: that of the machine, or that of a database that servers share."""

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import event, select

from jobledger_service.core.model.micros import Micros

from .engines import Database
from .tables import ledger

Clock = Callable[[], Micros]
"""Returns the time in microseconds since 1970."""

_NOW: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
CLOSE_ENOUGH: Final = 5_000
"""Microseconds: an answer within this time is accurate enough, and ends the measurement."""
SAMPLES: Final = 4


class SteadyClock:
    """The time in microseconds since 1970, which never falls.

    It follows the machine's clock forwards. When that is set back it continues by the monotonic clock: leases and waits
    end when they should, and later commits have later times. It starts no earlier than `after`.
    """

    def __init__(self, after: int = 0) -> None:
        self._offset = after * 1_000 - time.monotonic_ns()

    def __call__(self) -> Micros:
        """Return the time."""
        # in this order: a pause between the two readings makes the difference smaller, and cannot push the time ahead
        wall = time.time_ns()
        now = time.monotonic_ns()
        self._offset = max(self._offset, wall - now)
        return Micros((now + self._offset) // 1_000)


class DatabaseClock:
    """The time in microseconds since 1970 by the database's clock, continued by the monotonic one between measurements.

    It is measured first, at each new connection of the writer, and on `renew`. Its error is at most half of the
    quickest of a few answers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offset = 0
        event.listen(database.writer, "connect", self._connected)
        self.renew()

    def __call__(self) -> Micros:
        """Return the time."""
        return Micros(time.monotonic_ns() // 1_000 + self._offset)

    def renew(self) -> None:
        """Measure the database's clock; raises StoreUnavailable."""
        with self._database.read() as connection:
            self._measure(lambda: connection.exec_driver_sql(_NOW).scalar_one())

    def _connected(self, connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's
        with connection.cursor() as cursor:
            self._measure(lambda: cursor.execute(_NOW).fetchone()[0])
        connection.commit()

    def _measure(self, ask: Callable[[], int]) -> None:
        """Set the offset of the database's clock, which was read halfway between question and answer."""
        samples: list[tuple[int, int]] = []
        while len(samples) < SAMPLES and (not samples or samples[-1][0] > CLOSE_ENOUGH):
            begun = time.monotonic_ns()
            answer = ask()
            took = (time.monotonic_ns() - begun) // 1_000
            samples.append((took, answer - begun // 1_000 - took // 2))
        _, self._offset = min(samples)


def newest_commit_time(database: Database) -> int:
    """Return the time of the newest commit in microseconds since 1970, 0 before the first."""
    with database.read() as connection:
        newest: int = connection.execute(select(ledger.c.commit_time)).scalar_one()
        return newest


def clock_of(database: Database) -> SteadyClock | DatabaseClock:
    """Return the clock of a ledger."""
    return SteadyClock(newest_commit_time(database)) if database.single_writer else DatabaseClock(database)
