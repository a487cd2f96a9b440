"""Starts: `python -m bench.start` shows what it takes to import the SDK and to start a server, beside what they import.

Processes are started in turn, round by round. CPU is that of the whole process, interpreter and all; of a server, up to
the line with which it says that it serves, on a database that is there.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from .processes import ROOT, jobledger, rss_kib
from .report import circumstances, parser_of, rows, run_benchmark, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

LATEST: Final = ROOT / "bench" / "results" / "start.json"
GRPC: Final = "import grpc"
AND_SQL: Final = "import grpc, sqlalchemy"
SERVE: Final = "jobledger-server serve"
IMPORTS: Final = {
    GRPC: GRPC,
    "import jobledger_client": GRPC,
    "from jobledger_client import JobClient": GRPC,
    "from jobledger_client import AsyncJobClient": GRPC,
    "from jobledger_client import Worker": GRPC,
    AND_SQL: AND_SQL,
}
"""What is imported, and what it is compared with."""
SETTLE: Final = 3.0


class Start(NamedTuple):
    """What one start took, and what the process held a while later."""

    seconds: float
    cpu: float
    kib: int = 0


def _imported(statement: str) -> Start:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", statement])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, statement)
    return Start(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def _served(folder: Path) -> Start:
    began = time.perf_counter()
    with jobledger(folder, f"sqlite:///{folder}/bench.db") as server:
        seconds, cpu = time.perf_counter() - began, server.cpu
        time.sleep(SETTLE)
        return Start(seconds, cpu, rss_kib(server.pid))


def measure(rounds: int, path: Path) -> str:
    """Measure in turn, write the JSON, and return the table."""
    about = circumstances({"rounds": rounds})
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        folder = Path(name)
        starts: dict[str, Callable[[], Start]] = {module: partial(_imported, module) for module in IMPORTS}
        starts[SERVE] = lambda: _served(folder)
        for start in starts.values():
            start()  # compiles what is not compiled, and makes the database
        measured: dict[str, list[Start]] = {what: [] for what in starts}
        for _ in range(rounds):
            for what, start in starts.items():
                measured[what].append(start())
    write_json(path, about | {"starts": measured})
    beside = IMPORTS | {SERVE: AND_SQL}
    heads = ("what", "seconds", "CPU ms", "of", "ratio", "min to max", "MiB")
    return rows(heads, [_row(what, measured[what], beside[what], measured[beside[what]]) for what in measured])


def _row(what: str, starts: list[Start], beside: str, floor: list[Start]) -> tuple[str, ...]:
    ratios = [start.cpu / other.cpu for start, other in zip(starts, floor, strict=True)]
    seconds, cpu, kib = (statistics.median(values) for values in zip(*starts, strict=True))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    ratio = f"{statistics.median(ratios):.2f}"
    return (what, f"{seconds:.2f}", f"{1_000 * cpu:.0f}", beside, ratio, spread, f"{kib / 1024:.0f}" if kib else "-")


def main() -> int:
    """Run the command line."""
    parser = parser_of("bench.start", __doc__, LATEST, with_store=False)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each (default: 5)")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled, so what is measured is, too
    return run_benchmark("bench.start", lambda: measure(options.rounds, options.json))


if __name__ == "__main__":
    sys.exit(main())
