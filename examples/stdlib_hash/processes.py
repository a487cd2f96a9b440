"""The processes of the demo: its workers, and the command line that shows the job."""

import os
import subprocess
import sys

from examples.processes import BIN


def worker(target: str, name: str) -> subprocess.Popen[str]:
    """Start a worker process."""
    command = [sys.executable, "-m", "examples.stdlib_hash.worker", target, name]
    return subprocess.Popen(command, text=True, start_new_session=True)


def show(target: str, job_id: str) -> subprocess.Popen[str]:
    """Start `jobledger watch`, which shows live bars on a terminal and lines elsewhere."""
    command = [str(BIN / "jobledger"), "watch", job_id]
    return subprocess.Popen(command, text=True, env={**os.environ, "JOBLEDGER_TARGET": target})
