"""The processes of the demo: started together, and gone together, whatever happens."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE = 20.0


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Yield a process, and end it on the way out: with SIGTERM, and with SIGKILL when that takes too long."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server on SQLite in `folder`, on a free port, and yield its address."""
    command = [str(BIN / "jobledger-server"), "serve", "--listen", "127.0.0.1:0", "--allow-file-artifacts"]
    command += ["--database", f"sqlite:///{folder / 'demo.db'}", "--log-level", "warning"]
    # A process group of its own: Ctrl-C ends the demo, and the demo ends its processes in order.
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with ending(started):
        line = started.stdout.readline() if started.stdout else ""
        if not line:
            raise SystemExit("the server did not start; its reason is above")
        yield line.split()[-1]


def worker(target: str, name: str, folder: Path) -> subprocess.Popen[str]:
    """Start a worker process."""
    command = [sys.executable, "-m", "examples.stdlib_hash.worker", target, name, str(folder)]
    return subprocess.Popen(command, text=True, start_new_session=True)


def show(target: str, job_id: str) -> subprocess.Popen[str]:
    """Start `jobledger watch`, which shows live bars on a terminal and lines elsewhere."""
    command = [str(BIN / "jobledger"), "watch", job_id]
    return subprocess.Popen(command, text=True, env={**os.environ, "JOBLEDGER_TARGET": target})
