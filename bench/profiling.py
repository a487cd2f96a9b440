"""Where the server's CPU time goes while it serves one kind of call: samples by py-spy, summed up by function.

Functions of C are there too. Those of a library without symbols, such as gRPC's, are counted together as `?`.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from .processes import StartError
from .suite import CASES, WATCHES, Plan, running

RATE: Final = 100
"""Samples a second: each stops the server for some milliseconds, as C frames take long to unwind."""
TOP: Final = 25
ATTACHING: Final = 1.0
WARM: Final = 0.5
_STARTING: Final = re.compile(
    r"cli/|jobledger-server|typer/|uvloop/|asyncio/runners|threading\.py|concurrent/futures|loop\.c:|\(core\.c:|"
    r"thread_run|\? \(libc"
)
"""Frames that are on every stack, and say nothing."""
_WAITING: Final = re.compile(
    r";(PyThread_acquire_lock_timed|pthread_cond_(timed)?wait|sem_(clock|timed)?wait|epoll_p?wait|take_gil|poll) "
)
"""Stacks of threads that wait, be it for the interpreter's lock: they use no CPU."""
_ADDRESS: Final = re.compile(r"0x[0-9a-f]+ ")
_MODULE: Final = re.compile(r"\(([^():]+)[^()]*\)$")
_THREAD: Final = re.compile(r"thread \(\w+\): ?")


@dataclass(slots=True)
class Samples:
    """Samples by function: the one that ran, and all that were on the stack."""

    total: int = 0
    alone: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)
    modules: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, folded: Path) -> "Samples":
        """Read lines of `thread;outer;…;inner count`."""
        samples = cls()
        for line in folded.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if _WAITING.search(stack):
                continue
            thread, *frames = _ADDRESS.sub("? ", _THREAD.sub("", stack)).split(";")
            samples._add(thread, frames, int(count))
        return samples

    def _add(self, thread: str, frames: list[str], count: int) -> None:
        self.total += count
        self.threads[thread] += count
        last = frames[-1] if frames else thread
        self.alone[last] += count
        module = _MODULE.search(last)
        self.modules[module[1] if module else last] += count
        for frame in set(frames):
            if not _STARTING.search(frame):
                self.within[frame] += count

    def table(self) -> str:
        """Return the shares, largest first."""
        parts = [
            _shares("Threads", self.threads, self.total),
            _shares("Files and libraries, themselves", self.modules, self.total),
            _shares("Functions, themselves", self.alone, self.total),
            _shares("Functions, with what they call", self.within, self.total),
        ]
        return "\n\n".join(parts)


def _shares(title: str, counts: Counter[str], total: int) -> str:
    rows = [f"{100 * count / total:5.1f} %  {name}" for name, count in counts.most_common(TOP)]
    return "\n".join([f"{title} ({total:,} samples)", *rows])


def _sampler() -> str:
    """Return the path of py-spy; raises StartError."""
    program = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        raise StartError("--profile needs py-spy: .venv/bin/pip install py-spy")
    return program


@contextmanager
def _sampling(pid: int, folded: Path) -> Iterator[None]:
    """Sample the threads that run until the block ends."""
    command = [_sampler(), "record", "--pid", str(pid), "--rate", str(RATE), "--duration", "unlimited"]
    options = ["--format", "raw", "--threads", "--native", "--function", "--output", str(folded)]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
        time.sleep(ATTACHING)
        try:
            yield
        finally:
            spy.send_signal(signal.SIGINT)
            spy.wait()


def profile(name: str, load: int, seconds: float) -> str:
    """Return where the time goes in `name` with `load` calls in flight, or streams open; raises StartError."""
    if name not in (*CASES, *WATCHES):
        raise StartError(f"the measure must be one of {', '.join((*CASES, *WATCHES))}; got {name!r}")
    _sampler()
    with TemporaryDirectory() as folder, running(Plan()) as suite:
        folded = Path(folder) / "folded"
        once = suite.once(name, load)
        once("jobledger", WARM)
        with _sampling(suite.servers["jobledger"].pid, folded):
            once("jobledger", seconds)
        return Samples.read(folded).table()
