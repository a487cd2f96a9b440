"""Servers of a released version, run from the commit that its databases were made by."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.server import Server

if TYPE_CHECKING:
    from tests.support.forked import Forked

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("protos", "client", "service")
SETTINGS = {
    "BOOKMARK_SECONDS": "bookmark_interval", "COMMIT_STALL_SECONDS": "health_commit_stall",
    "DUE_SCAN_SECONDS": "duty_interval", "EXPIRY_DELAY_SECONDS": "expiry_delay",
    "SLOW_READ_SECONDS": "health_database_latency", "TRIM_SECONDS": "retention_interval",
}  # fmt: skip
"""What released versions have as settings, and this one as constants."""
PROGRAM = "from jobledger_service.cli.main import main; main()"


def unpack(commit: str, directory: Path) -> Path:
    """Write the distributions of a commit below a directory; skips the test where the history lacks the commit."""
    archive = ["git", "archive", commit, *DISTRIBUTIONS]
    packed = subprocess.run(archive, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode != 0:
        pytest.skip(f"the repository's history lacks the released commit {commit}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as opened:
        opened.extractall(directory, filter="data")
    return directory


class OldServer(Server):
    """A server of the version that was unpacked into `source`."""

    source: Path

    def __init__(self, database: str, directory: Path, settings: Mapping[str, str]) -> None:
        """Take what a server of this version takes."""
        super().__init__(database, directory, {SETTINGS.get(name, name): value for name, value in settings.items()})

    def environment(self) -> dict[str, str]:
        """Return the environment, in which the unpacked packages come before those of this version."""
        path = ":".join(str(self.source / name) for name in DISTRIBUTIONS)
        return super().environment() | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    def _begun(self, arguments: list[str], log: IO[str]) -> "subprocess.Popen[str] | Forked":
        streams = {"stdout": subprocess.PIPE, "stderr": log}
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.Popen(command, text=True, env=self.environment(), cwd=self.source, **streams)
