"""A real `jobledger-server` process on a real port: started, drained, killed and started again on the same database."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.bounds import BOUND
from tests.support.forked import Forked

COMMAND = Path(sys.executable).with_name("jobledger-server")
READY = "jobledger listening on "

running: list["Server"] = []


class Server:
    """One replica: a process over a database."""

    def __init__(self, database: str, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        """Take the database's URL, a directory for the log, and settings: JOBLEDGER_ names without the prefix."""
        self.database = database
        self.log = directory / f"server-{len(list(directory.glob('server-*.log')))}.log"
        self.log.touch()
        self.settings = dict(settings or {})
        self.target = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | Forked | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: ours without any JOBLEDGER_ setting but those of this server."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
        return ours | {f"JOBLEDGER_{name.upper()}": value for name, value in self.settings.items()}

    def start(self) -> Self:
        """Start the process and wait for the line that says it is ready; later starts take the same port again."""
        is_replica = any(other.database == self.database for other in running)
        arguments = ["serve", "--database", self.database, "--listen", self.target]
        self.process = (self._command if is_replica else Forked)(arguments, self.environment(), self.log)
        running.append(self)
        self.target = self._ready_line().removeprefix(READY).strip()
        return self

    @staticmethod
    def _command(arguments: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[str]":
        """Start it as its users do. Forks share the seed of their hashes, and so replicas must not all be forks."""
        with log.open("a") as stderr:
            return subprocess.Popen(
                [COMMAND, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            )

    def _ready_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], BOUND)
        line = self.process.stdout.readline() if readable else ""
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
        """Wait until the process has ended and return its exit code."""
        assert self.process is not None
        code = self.process.wait(BOUND)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self in running:
            running.remove(self)
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
