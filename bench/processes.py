"""The processes of a run: started, asked for what they use, and always stopped again."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

BOUND: Final = 30.0
"""Seconds for a process to become ready, and to end."""

TICKS: Final = os.sysconf("SC_CLK_TCK")
SERVER: Final = Path(sys.executable).with_name("jobledger-server")
READY: Final = " listening on "
ROOT: Final = Path(__file__).resolve().parents[1]


class StartError(RuntimeError):
    """A process did not become ready."""


class TaskError(RuntimeError):
    """The load generator could not do what it was asked for."""


class CpuTimes(NamedTuple):
    """CPU seconds of a process, all its threads together."""

    user: float
    kernel: float


def _stat(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_times(pid: int | str) -> CpuTimes:
    """Return the CPU time that a process has used."""
    fields = _stat(pid)
    return CpuTimes(int(fields[11]) / TICKS, int(fields[12]) / TICKS)


def tree_cpu_times(pid: int) -> CpuTimes:
    """Return the CPU time that a process and its children have used, those that have ended too."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            times = [cpu_times(pid), *(cpu_times(child) for child in children)]
        except (FileNotFoundError, ProcessLookupError):
            if not Path(f"/proc/{pid}").exists():
                raise
            continue  # a child has ended meanwhile
        ended = _stat(pid)
        times.append(CpuTimes(int(ended[13]) / TICKS, int(ended[14]) / TICKS))
        return CpuTimes(sum(time.user for time in times), sum(time.kernel for time in times))


def rss_kib(pid: int) -> int:
    """Return the memory that a process holds, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _start(command: Sequence[str | Path], log: Path) -> "subprocess.Popen[str]":
    """Start a process that does not get our Ctrl-C: we stop it ourselves."""
    with log.open("a") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )


def _line(process: "subprocess.Popen[str]", bound: float) -> str:
    """Return the next line that a process prints, empty when there is none in time."""
    output = process.stdout
    if output is None or not select.select([output], [], [], bound)[0]:
        return ""
    return output.readline().strip()


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(BOUND)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process, with its log in a file, and stop it in the end."""
    process = _start(command, log)
    try:
        yield process
    finally:
        _stop(process)


class Served:
    """A server under measurement."""

    def __init__(self, name: str, pid: int, address: str) -> None:
        self.name = name
        self.pid = pid
        self.address = address

    @property
    def cpu(self) -> float:
        """The CPU seconds that it has used."""
        return sum(cpu_times(self.pid))


@contextmanager
def _served(name: str, command: Sequence[str | Path], folder: Path) -> Iterator[Served]:
    log = folder / f"{name}.log"
    with running(command, log) as process:
        line = _line(process, BOUND)
        if READY not in line:
            raise StartError(f"{name} did not become ready; it said {line!r} and logged:\n{log.read_text()[-4_000:]}")
        yield Served(name, process.pid, line.partition(READY)[2])


@contextmanager
def jobledger(folder: Path, database: str, *further: str) -> Iterator[Served]:
    """Run Jobledger on a database, with its log in a folder."""
    flags = ["--database", database, "--listen", "127.0.0.1:0", "--log-level", "warning", *further]
    with _served("jobledger", [SERVER, "serve", *flags], folder) as served:
        yield served


@contextmanager
def floor(folder: Path) -> Iterator[Served]:
    """Run the floor."""
    with _served("floor", [sys.executable, "-m", "bench.floor"], folder) as served:
        yield served


class Generator:
    """A process that loads the servers, and does one task at a time."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def begin(self, task: str, **parameters: object) -> None:
        """Have a task begun; `answer` waits for its end."""
        if self._process.stdin is None:
            raise TaskError("the load generator cannot be spoken to")
        print(json.dumps({"task": task, **parameters}), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """Wait for the task's end, and return what came of it; raises TaskError."""
        line = _line(self._process, 4 * BOUND)
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._log.read_text()[-4_000:] or "silence"}
        if "error" in answer:
            raise TaskError(answer["error"])
        return answer

    def do(self, task: str, **parameters: object) -> dict[str, Any]:
        """Have a task done and return what came of it; raises TaskError."""
        self.begin(task, **parameters)
        try:
            return self.answer()
        except TaskError as error:
            raise TaskError(f"{task} {parameters}: {error}") from None


@contextmanager
def generator(folder: Path, ours: Served, bare: Served) -> Iterator[Generator]:
    """Run a load generator against both servers."""
    servers = [f"{served.name}={served.address}={served.pid}" for served in (ours, bare)]
    with tasked("generator", servers, folder) as load:
        yield load


@contextmanager
def tasked(module: str, arguments: Sequence[str], folder: Path) -> Iterator[Generator]:
    """Run one of our modules that does tasks, with its log in a folder."""
    log = folder / f"{module}.log"
    with running([sys.executable, "-m", f"bench.{module}", *arguments], log) as process:
        yield Generator(process, log)
