"""A real `jobledger-server` process on a real port: started, drained, killed and started again on the same database."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from tests.support.bounds import BOUND
from tests.support.constants import PROGRAM, VARIABLE, environment_of
from tests.support.forked import Forked, is_readable

COMMAND = Path(sys.executable).with_name("jobledger-server")
READY = "jobledger listening on "
UNDECLARED = "refused for a reason that the method does not declare"

running: list["Server"] = []


def without_settings() -> dict[str, str]:
    """Return our environment without any JOBLEDGER_ setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}


def run_command(directory: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `jobledger-server` in a directory to its end, with these variables and without our settings."""
    with TemporaryFile("w+") as stderr:
        process = Forked(words, without_settings() | environment, directory, stderr)
        with process.stdout as stdout:
            output = stdout.read()
        status = process.wait(BOUND)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, status, output, stderr.read())


class Server:
    """One replica: a process over a database."""

    may_be_forked = True
    """Unless its environment is for the interpreter, which reads it at its start."""

    def __init__(self, database: str, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        """Take the database's URL, a directory for the log, and settings: JOBLEDGER_ names without the prefix.

        Names in capitals are those of constants.
        """
        self.database = database
        self.log = directory / f"server-{len(list(directory.glob('server-*.log')))}.log"
        self.log.touch()
        self.settings = dict(settings or {})
        self.target = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | Forked | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: ours without any JOBLEDGER_ setting but those of this server."""
        return without_settings() | environment_of(self.settings)

    def start(self) -> Self:
        """Start the process and wait for the line that says it is ready; later starts take the same port again."""
        running.append(self)
        with self.log.open("a") as log:
            self.process = self._begun(["serve", "--database", self.database, "--listen", self.target], log)
        self.target = self._ready_line().removeprefix(READY).strip()
        return self

    def _begun(self, arguments: list[str], log: IO[str]) -> "subprocess.Popen[str] | Forked":
        """Fork the first server of a database, and start the others as users do: what is forked hashes alike."""
        is_first = all(other is self or other.database != self.database for other in running)
        if is_first and self.may_be_forked:
            return Forked(arguments, self.environment(), Path.cwd(), log)
        streams = {"stdout": subprocess.PIPE, "stderr": log}
        environment = self.environment()
        command = PROGRAM if VARIABLE in environment else (COMMAND,)
        return subprocess.Popen([*command, *arguments], text=True, env=environment, **streams)

    def _ready_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline() if is_readable(self.process.stdout.fileno(), BOUND) else ""
        if not line.startswith(READY):
            self.kill()
            raise AssertionError(f"the server did not become ready; it said {line!r} and logged:\n{self.tail()}")
        return line

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self.process is not None
        return self.process.pid

    def terminate(self) -> None:
        """Ask the process to drain, and do not wait."""
        self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended and return its exit code; it refused nothing for an undeclared reason."""
        assert self.process is not None
        code = self.process.wait(BOUND)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self in running:
            running.remove(self)
        assert UNDECLARED not in self.log.read_text(errors="replace"), self.tail()
        return code

    def stop(self) -> int:
        """Drain the process and return its exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._signal(signal.SIGKILL)
        self.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)

    def defects(self) -> list[dict[str, str]]:
        """Return the lines of the log, which must be JSON, that tell of an error."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["level"] in {"error", "critical"}]

    def tail(self, characters: int = 6_000) -> str:
        """Return the end of what the server logged."""
        return self.log.read_text(errors="replace")[-characters:]
