"""Clocks that a test sets: those of machines on which servers run, and that of a ledger in this process."""

import os
from collections.abc import Callable
from pathlib import Path

from jobledger_service.core.model.micros import Micros

from tests.support.server import Server

# Python imports this module in every process that finds it, before anything else runs there.
WRONG_CLOCK = """
import os, time

_right, _right_ns, _file = time.time, time.time_ns, os.environ["CLOCK_FILE"]


def _ahead():
    with open(_file) as file:
        return int(file.read())


time.time = lambda: _right() + _ahead()
time.time_ns = lambda: _right_ns() + _ahead() * 10**9
"""


class ServerWithClock(Server):
    """A server on a machine whose wall clock is some seconds ahead, or behind."""

    may_be_forked = False

    def __init__(self, database: str, directory: Path, settings: dict[str, str], ahead: int = 0) -> None:
        """Take what a server takes, and by how many seconds the clock is ahead."""
        super().__init__(database, directory, settings)
        self._machine = directory / f"machine-{self.log.stem}"
        self._machine.mkdir()
        (self._machine / "sitecustomize.py").write_text(WRONG_CLOCK)
        self.set_clock(ahead)

    def set_clock(self, ahead: int) -> None:
        """Set the clock of the machine to so many seconds ahead of the right time."""
        new = self._machine / "new"
        new.write_text(str(ahead))
        new.rename(self._machine / "clock")

    def environment(self) -> dict[str, str]:
        """Return the environment of a process on this machine."""
        path = os.pathsep.join(filter(None, (str(self._machine), os.environ.get("PYTHONPATH"))))
        return super().environment() | {"PYTHONPATH": path, "CLOCK_FILE": str(self._machine / "clock")}


OTHER_CLOCK = """
CREATE SCHEMA clocks;
CREATE TABLE clocks.ahead (seconds INTEGER NOT NULL);
INSERT INTO clocks.ahead VALUES (0);
CREATE FUNCTION clocks.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 second'' FROM clocks.ahead';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, clocks, pg_catalog', current_database());
END $$
"""


class DatabaseWithClock:
    """A PostgreSQL database whose clock the test sets, for all connections that are opened from now on."""

    def __init__(self, execute: Callable[[str], object]) -> None:
        """`execute` carries out statements in the database."""
        self._execute = execute
        execute(OTHER_CLOCK)

    def set_clock(self, ahead: int) -> None:
        """Set the clock to so many seconds ahead of the right time."""
        self._execute(f"UPDATE clocks.ahead SET seconds = {ahead:d}")  # noqa: S608


class SetClock:
    """The clock of a ledger in this process, which shows what the test has put into `times`."""

    def __init__(self, times: list[int]) -> None:
        self._times = times

    def __call__(self) -> Micros:
        """Return the time."""
        return Micros(self._times[0])

    calendar = __call__

    def ahead_seconds(self) -> float:
        """Return 0: it follows nothing."""
        return 0.0
