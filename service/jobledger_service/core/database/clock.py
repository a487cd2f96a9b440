"""The clock of a ledger: it follows the machine's clock, or that of a database that servers share."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, Protocol

from sqlalchemy import event, select

from jobledger_service.core.model.history.ledger_time import LedgerTime
from jobledger_service.core.model.micros import Micros

from .engines import Database
from .tables import ledger

Clock = Callable[[], Micros]
"""Returns the time in microseconds since 1970."""

_NOW: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
CLOSE_ENOUGH: Final = 5_000
"""Microseconds: an answer within this time is accurate enough, and ends the measurement."""
SAMPLES: Final = 4
NANOS: Final = 1_000
"""The nanoseconds of a microsecond."""


class LedgerClock(Protocol):
    """The time of a ledger in microseconds since 1970. Any thread may read it."""

    def __call__(self) -> Micros:
        """Return the ledger's time, which never falls: that of commits, leases, deadlines and backoffs."""

    def calendar(self) -> Micros:
        """Return the time that dates of callers and the age of old rows are compared with.

        It is the ledger's time, or that of the clock which it follows if that is behind; it may fall.
        """

    def ahead_seconds(self) -> float:
        """By how many seconds the ledger's time is ahead of the clock that it follows; less than 0 if it is behind."""


class SteadyClock:
    """The time of a ledger that follows a clock in nanoseconds since 1970, by default the machine's.

    It starts no earlier than `after`, which is in microseconds.
    """

    def __init__(self, after: int = 0, machine: Callable[[], int] = time.time_ns) -> None:
        self._machine = machine
        self._time = LedgerTime(machine(), time.monotonic_ns(), after * NANOS)
        self._lock = Lock()

    def __call__(self) -> Micros:
        return Micros(self._read()[0] // NANOS)

    def calendar(self) -> Micros:
        return Micros(min(self._read()) // NANOS)

    def ahead_seconds(self) -> float:
        now, machine = self._read()
        return (now - machine) / 1e9

    def raise_to(self, commit_time: int) -> None:
        """Continue no earlier than at the time of a commit."""
        with self._lock:
            self._time.raise_to(commit_time * NANOS)

    def _read(self) -> tuple[int, int]:
        """Return the ledger's time and that of the clock that it follows."""
        with self._lock:
            # in this order: a pause between the two readings makes the difference smaller, and is no jump ahead
            machine = self._machine()
            return self._time.read(machine, time.monotonic_ns()), machine


class DatabaseClock(SteadyClock):
    """The time of a ledger that follows the database's clock, continued by the monotonic one between measurements.

    It is measured first, at each new connection of the writer, and on `renew`. Its error is at most half of the
    quickest of a few answers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offset = 0
        event.listen(database.writer, "connect", self._connected)
        newest = self._measured()
        super().__init__(newest, self._database_time)

    def renew(self) -> None:
        """Measure the database's clock, and reach the newest commit's time; raises StoreUnavailable."""
        self.raise_to(self._measured())

    def _database_time(self) -> int:
        return time.monotonic_ns() + self._offset * NANOS

    def _measured(self) -> int:
        """Measure the database's clock, and return the time of the newest commit."""
        with self._database.read() as connection:
            self._measure(lambda: connection.exec_driver_sql(_NOW).scalar_one())
        return newest_commit_time(self._database)

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
            took = (time.monotonic_ns() - begun) // NANOS
            samples.append((took, answer - begun // NANOS - took // 2))
        _, self._offset = min(samples)


def newest_commit_time(database: Database) -> int:
    """Return the time of the newest commit in microseconds since 1970, 0 before the first."""
    with database.read() as connection:
        newest: int = connection.execute(select(ledger.c.commit_time)).scalar_one()
        return newest


def clock_of(database: Database) -> SteadyClock:
    """Return the clock of a ledger."""
    return SteadyClock(newest_commit_time(database)) if database.single_writer else DatabaseClock(database)
