"""A real `jobledger-console` process on a free port."""

import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.bounds import BOUND
from tests.support.server import without_settings

COMMAND = Path(sys.executable).with_name("jobledger-console")
READY = "jobledger-console listening on "


class Console:
    """The process; `address` is that of its first page, without the slash at its end."""

    def __init__(self, target: str, log: Path, *options: str) -> None:
        self._command = [str(COMMAND), "--target", target, "--listen", "127.0.0.1:0", *options]
        self._log = log
        self.address = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start the process, and wait for the line with its address."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=without_settings()
            )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], BOUND)
        line = self._process.stdout.readline() if readable else ""
        if not line.startswith(READY):
            self.stop(signal.SIGKILL)
            raise AssertionError(self.logged())
        self.address = line.removeprefix(READY).strip().rstrip("/")
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process by a signal, and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(BOUND)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def logged(self) -> str:
        """Return what the console has logged."""
        return self._log.read_text()
