"""Servers forked from a process that has imported all that they need: importing is most of what a start takes.

`Forked` is one such server, for its parent as a `subprocess.Popen` is. Run as a program, this is the process to fork.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import IO

from tests.support.constants import set_constants_of_environment

ROOT = Path(__file__).parents[2]
NUMBER = 8  # bytes of a process id or an exit status
IMPORTED = ["jobledger_service.app", "jobledger_service.cli.supervisor", "alembic.command", "alembic.config"]
"""What the command imports when it needs it."""
BEFORE = "IMPORT_BEFORE"
"""A variable of the environment: a module to import before the server starts."""


def is_readable(descriptor: int, timeout: float) -> bool:
    """Wait until there is something to read, or an end. Unlike `select.select`, it takes descriptors above 1,023."""
    reading = select.poll()
    reading.register(descriptor, select.POLLIN)
    return bool(reading.poll(timeout * 1_000))


class Forked:
    """A running `jobledger-server` with these arguments, environment, directory and standard error."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, stderr: IO[str]
    ) -> None:
        stdout, its_stdout = os.pipe()
        self._status, its_status = os.pipe()
        request = {"arguments": arguments, "environment": dict(environment), "directory": str(directory)}
        socket.send_fds(_template(), [json.dumps(request).encode()], [its_stdout, stderr.fileno(), its_status])
        os.close(its_stdout)
        os.close(its_status)
        self.stdout = os.fdopen(stdout)
        self.returncode: int | None = None
        self._reading = Lock()
        self.pid = self._number()

    def _number(self) -> int:
        number = os.read(self._status, NUMBER)
        assert len(number) == NUMBER, "the process to fork has ended"
        return int.from_bytes(number, signed=True)

    def __del__(self) -> None:
        os.close(self._status)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        with self._reading:
            if self.returncode is None and is_readable(self._status, 0):
                self.returncode = self._number()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit status."""
        if self.poll() is None:
            is_readable(self._status, timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(f"jobledger-server {self.pid}", timeout)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


@cache
def _template() -> socket.socket:
    """Start the process to fork, once a test process; it ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.support.forked", str(its.fileno())]
    template = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()])
    its.close()
    atexit.register(template.wait)
    atexit.register(ours.close)
    return ours


def _fork_on_request(requests: socket.socket) -> None:
    """Import the server, and fork for each request; the forks run it, and this returns when the requests end."""
    for name in IMPORTED:
        import_module(name)
    main = import_module("jobledger_service.cli.main").main
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _fork_and_report(*descriptors)
            _become(**json.loads(request))
            main()
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _fork_and_report(stdout: int, stderr: int, status: int) -> None:
    """Fork the server, which returns from here; report its process id, and at its end its exit status."""
    if pid := os.fork():
        os.close(stdout)
        os.close(stderr)
        os.write(status, pid.to_bytes(NUMBER, signed=True))
        _, ended = os.waitpid(pid, 0)
        os.write(status, os.waitstatus_to_exitcode(ended).to_bytes(NUMBER, signed=True))
        os._exit(0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for descriptor in (stdout, stderr, status):
        os.close(descriptor)


def _become(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["jobledger-server", *arguments]
    set_constants_of_environment()
    if module := os.environ.pop(BEFORE, ""):
        import_module(module)


if __name__ == "__main__":
    _fork_on_request(socket.socket(fileno=int(sys.argv[1])))
