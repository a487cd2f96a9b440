"""A real server for tests, as a process."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

_READY = "jobledger listening on "
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOG_CHARACTERS = 6_000


@contextmanager
def running_server(*options: str, directory: Path | None = None) -> Iterator[str]:
    """Run `jobledger-server serve` on a free port of this machine; the value is its address, such as 127.0.0.1:49152.

    The database is `jobledger.db` in `directory`, and the log `server.log`; None means a temporary directory. `options`
    are those of the command, such as "--log-level", "warning"; JOBLEDGER_… variables of the environment do not count.

    Raises ModuleNotFoundError without jobledger-service, and RuntimeError with the log of a server that does not start.
    """
    if importlib.util.find_spec("jobledger_service") is None:
        raise ModuleNotFoundError("a server for tests needs jobledger-service: pip install jobledger-service")
    with ExitStack() as stack:
        directory = directory or Path(stack.enter_context(TemporaryDirectory(prefix="jobledger-")))
        database = f"sqlite:///{directory / 'jobledger.db'}"
        command = [
            sys.executable,
            "-m",
            "jobledger_service",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database",
            database,
        ]
        log_file = directory / "server.log"
        log = stack.enter_context(log_file.open("w"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
        # In a session of its own, so that Ctrl-C does not end the server before what uses it.
        process = subprocess.Popen(  # noqa: S603 - the server that is installed beside this package
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
        stack.enter_context(process)
        stack.callback(_stop, process)
        line = _first_line(process)
        if not line.startswith(_READY):
            reason = log_file.read_text(errors="replace")[-_LOG_CHARACTERS:]
            raise RuntimeError(f"the server did not start; it logged:\n{reason}")
        yield line.removeprefix(_READY).strip()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
    timer = Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
