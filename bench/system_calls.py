"""How many system calls a server makes for one call, by name: counted by strace, which makes the server slow."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from .processes import StartError
from .report import rows
from .suite import CASES, SIDES, WATCHES, Plan, running

ATTACHING: Final = 1.0
WARM: Final = 0.5
MIN_A_CALL: Final = 0.05
"""Rarer ones are not shown."""


def counted(summary: str) -> dict[str, int]:
    """Return the number of each system call in a summary of `strace -c`."""
    counts = {}
    for line in summary.splitlines():
        columns = line.split()
        if len(columns) in {5, 6} and columns[3].isdigit() and columns[-1] != "total":
            counts[columns[-1]] = int(columns[3])
    return counts


def system_calls(name: str, load: int, seconds: float) -> str:
    """Return the system calls of the floor and of Jobledger for one call of a measure; raises StartError."""
    if name not in (*CASES, *WATCHES):
        raise StartError(f"the measure must be one of {', '.join((*CASES, *WATCHES))}; got {name!r}")
    if shutil.which("strace") is None:
        raise StartError("--system-calls needs strace")
    per_call: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder, running(Plan()) as suite:
        once = suite.once(name, load)
        for side in SIDES:
            once(side, WARM)
            summary = Path(folder) / side
            command = ["strace", "-f", "-c", "-p", str(suite.servers[side].pid), "-o", str(summary)]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
                time.sleep(ATTACHING)
                calls = once(side, seconds)["calls"]
                tracer.send_signal(signal.SIGINT)
            per_call[side] = {name: count / calls for name, count in counted(summary.read_text()).items()}
    return _table(f"{name}, {load} in flight", per_call)


def _table(title: str, per_call: dict[str, dict[str, float]]) -> str:
    names = sorted(set().union(*per_call.values()), key=lambda name: -per_call["jobledger"].get(name, 0))
    shown = [name for name in names if max(per_call[side].get(name, 0) for side in SIDES) >= MIN_A_CALL]
    lines = [(name, *(f"{per_call[side].get(name, 0):.2f}" for side in SIDES)) for name in shown]
    total = ("all", *(f"{sum(per_call[side].values()):.1f}" for side in SIDES))
    return f"System calls for one call of {title}\n" + rows(("name", *SIDES), [*lines, total])
