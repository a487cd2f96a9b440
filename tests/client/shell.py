"""The command line in tests: in the process of the test, or as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobledger_client import JobClient
from jobledger_client.cli._main import run

COMMAND = Path(sys.executable).with_name("jobledger")


class Shell:
    """Runs `jobledger` against one server: in this process, or as one of its own."""

    def __init__(self, target: str, printed: pytest.CaptureFixture[str]) -> None:
        self.environment = os.environ | {"JOBLEDGER_TARGET": target}
        self._printed = printed
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command; return what it printed: on standard output, or on standard error when it is to fail."""
        out, err = self.both(*words, code=code)
        return out or err

    def both(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Run a command; return what it printed on standard output and on standard error."""
        assert run(words) == code
        printed = self._printed.readouterr()
        return printed.out, printed.err

    def json(self, *words: str, code: int = 0):
        return json.loads(self(*words, "--output", "json", code=code))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command, which is killed at the end of the test if it still runs."""
        process = subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, text=True, env=self.environment)
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
            with process:
                pass


def complete(client: JobClient, kind: str) -> None:
    claimed = client.leases.claim_chunks([kind], worker="w", max_chunks=100)
    client.leases.complete_chunks([one.lease.token for one in claimed])
