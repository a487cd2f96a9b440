"""Run programs, and report each step with the time that it took."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BOUND: Final = 600
"""Seconds for one program: an installation waits for the package index."""


class TrialError(RuntimeError):
    """A package is not what it should be, or does not do what it should."""


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of Jobledger, and without paths that Python would import from."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("JOBLEDGER_", "PYTHONPATH"))}


def run(*command: str | Path, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed; raises TrialError with all of it when it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=clean_environment() | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    if done.returncode:
        line = " ".join(map(str, command))
        raise TrialError(f"{line}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is done, and how long it took."""
    print(f"  {title:<88}", end="", flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.1f} s", flush=True)
