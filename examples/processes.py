"""What the examples share: a server and processes of their own, which are gone when an example has ended."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

BIN = Path(sys.executable).parent
PATIENCE = 20.0


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


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[str]:
    """Start a server on SQLite in `folder`, on a free port, and yield its address."""
    command = [str(BIN / "jobledger-server"), "serve", "--listen", "127.0.0.1:0", *flags]
    command += ["--database", f"sqlite:///{folder / 'example.db'}", "--log-level", "warning"]
    with _announcing(command) as where:
        yield where


@contextmanager
def engine(module: str, *arguments: object) -> Iterator[str]:
    """Start a module as a process that prints its address when it serves, and yield the address."""
    with _announcing([sys.executable, "-m", module, *map(str, arguments)]) as where:
        yield where


@contextmanager
def worker(
    module: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a module as a process: `python -m module arguments`, in our environment when None."""
    command: Sequence[str] = [sys.executable, "-m", module, *map(str, arguments)]
    with ending(subprocess.Popen(command, text=True, start_new_session=True, env=environment)) as process:
        yield process


@contextmanager
def _announcing(command: Sequence[str]) -> Iterator[str]:
    # A process group of its own: Ctrl-C ends the example, and the example ends its processes in order.
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with ending(started):
        line = started.stdout.readline() if started.stdout else ""
        if not line:
            raise SystemExit(f"{command[0]} did not start; its reason is above")
        yield line.split()[-1]


def play(name: str, run: Callable[[ExitStack, str, Path], None], *flags: str) -> None:
    """Run an example against a server of its own, in a temporary folder that goes when it ends."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"jobledger-{name}-"))
    try:
        with ExitStack() as stack:
            run(stack, stack.enter_context(server(folder, *flags)), folder)
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"\n{name} took {time.monotonic() - began:.1f} s. Nothing is left running.")
