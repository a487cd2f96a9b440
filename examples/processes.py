"""What the examples share: a server and processes of their own, which are gone when an example has ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from jobledger_client.testing import running_server

BIN = Path(sys.executable).parent
PATIENCE = 60.0
LIMIT = timedelta(seconds=PATIENCE)
Environment: TypeAlias = Mapping[str, str] | None
"""Variables of a process beside ours; None is none."""


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def show(title: str, answer: Message) -> None:
    """Print an answer of the service as JSON."""
    say(f"\n{title}:\n{json.dumps(MessageToDict(answer), indent=2)}")


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
        if process.stdout is not None:
            process.stdout.close()


def first_key(folder: Path) -> str:
    """Make an admin's key for the server that is to start in `folder`, and return it."""
    command = [str(BIN / "jobledger-server"), "keys", "--database", f"sqlite:///{folder / 'jobledger.db'}"]
    command += ["create", "operator", "--role", "admin"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@contextmanager
def engine(module: str, *arguments: object, environment: Environment = None) -> Iterator[str]:
    """Start a module as a process that prints its address when it serves, and yield the address."""
    with announcing([sys.executable, "-m", module, *map(str, arguments)], environment) as where:
        yield where


@contextmanager
def worker(module: str, *arguments: object, environment: Environment = None) -> Iterator[subprocess.Popen[str]]:
    """Start a module as a process: `python -m module arguments`."""
    command: Sequence[str] = [sys.executable, "-m", module, *map(str, arguments)]
    with ending(subprocess.Popen(command, text=True, start_new_session=True, env=_ours_and(environment))) as process:
        yield process


def _ours_and(more: Environment) -> Mapping[str, str]:
    return {**os.environ, **(more or {})}


@contextmanager
def announcing(command: Sequence[str], environment: Environment = None) -> Iterator[str]:
    """Start a command whose first line ends with its address, and yield the address."""
    # A process group of its own: Ctrl-C ends the example, and the example ends its processes in order.
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=_ours_and(environment)
    )
    with ending(started):
        line = started.stdout.readline() if started.stdout else ""
        if not line:
            raise SystemExit(f"{command[0]} did not start; its reason is above")
        yield line.split()[-1]


@contextmanager
def stage(name: str) -> Iterator[tuple[ExitStack, Path]]:
    """Yield what ends the processes of an example, and a temporary folder; both go when it ends, also by Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"jobledger-{name}-"))
    try:
        with ExitStack() as stack:
            yield stack, folder
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"\n{name} took {time.monotonic() - began:.1f} s. Nothing is left running.")


def play(name: str, run: Callable[[ExitStack, str, Path], None], *flags: str) -> None:
    """Run an example against a server of its own."""
    with stage(name) as (stack, folder):
        run(stack, stack.enter_context(running_server(*flags, directory=folder)), folder)
