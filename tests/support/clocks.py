"""Machines whose clock is wrong: servers that are started with a wall clock which the test sets."""

import os
from pathlib import Path

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
