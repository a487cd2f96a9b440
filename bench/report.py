"""What a run found, as a table for people and as JSON for programs."""

import argparse
import json
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from .databases import STORES
from .processes import ROOT, StartError
from .suite import CHUNKS, Result

LATEST: Final = ROOT / "bench" / "results" / "latest.json"
PACKAGES: Final = ("grpcio", "protobuf", "uvloop", "sqlalchemy", "jobledger-service")

CALLS: Final = (
    *("call", "in flight", "floor/s", "ours/s", "ratio", "min to max"),
    *("p50", "p95", "p99", "floor p50", "floor p99"),
)
WATCHES: Final = (
    *("watch", "streams", "opened in s", "floor"),
    *("floor/s", "ours/s", "ratio", "min to max", "bytes"),
)
CPU: Final = ("ours", "user", "kernel", "floor", "user", "kernel", "ratio", "min to max", "over floor", "a chunk")


def _call(result: Result) -> tuple[str, ...]:
    ours, bare = result.jobledger, result.floor
    return (
        result.name,
        f"{result.load}",
        f"{bare['rate']:,.0f}",
        f"{ours['rate']:,.0f}",
        *_ratio(result.ratios),
        *(f"{ours[p]:.1f}" for p in ("p50", "p95", "p99")),
        *(f"{bare[p]:.1f}" for p in ("p50", "p99")),
    )


def _watch(result: Result) -> tuple[str, ...]:
    ours, bare = result.jobledger, result.floor
    rates = (f"{bare['rate']:,.0f}", f"{ours['rate']:,.0f}", *_ratio(result.ratios), f"{ours['bytes']:,.0f}")
    opened = (f"{ours['opened_s']:.2f}", f"{bare['opened_s']:.2f}")
    return (result.name, f"{result.load:,}", *opened, *rates)


def _cpu(result: Result) -> tuple[str, ...]:
    ours, bare = result.jobledger, result.floor
    chunks = CHUNKS.get(result.name)
    return (
        result.name,
        f"{result.load:,}",
        *(f"{side[part]:,.0f}" for side in (ours, bare) for part in ("server_us", "user_us", "kernel_us")),
        *_ratio(result.cpu_ratios),
        f"{ours['server_us'] - bare['server_us']:,.0f}",
        f"{ours['server_us'] / chunks:,.0f}" if chunks else "",
    )


def _ratio(ratios: list[float]) -> tuple[str, str]:
    return (f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")


def rows(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return rows in columns: the first to the left, numbers to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def parser_of(name: str, about: str | None, results: Path, *, with_store: bool) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's command line, with the options that several have."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    if with_store:
        parser.add_argument(
            "--store", choices=STORES, default="sqlite", help="what Jobledger runs on (default: sqlite)"
        )
    parser.add_argument("--json", type=Path, default=results, metavar="FILE", help="where the JSON goes")
    return parser


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write what was found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


def run_benchmark(name: str, measure: Callable[[], str]) -> int:
    """Print what a measure found, and return the exit status; what went wrong is a sentence on standard error."""
    try:
        print(measure())
    except (StartError, subprocess.CalledProcessError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def table(calls: list[Result], watches: list[Result], idle: dict[str, float] | None) -> str:
    """Return the table."""
    parts = []
    if calls:
        parts.append("Calls: latency in ms\n" + rows(CALLS, [_call(call) for call in calls]))
        cpu = rows(("call", "in flight", *CPU), [_cpu(call) for call in calls])
        parts.append(f"Server CPU in µs a call, and a chunk\n{cpu}")
    if watches:
        parts.append(
            "Fan-out: messages delivered to all streams\n" + rows(WATCHES, [_watch(watch) for watch in watches])
        )
        cpu = rows(("watch", "streams", *CPU[:-1]), [_cpu(watch)[:-1] for watch in watches])
        parts.append(f"Server CPU in µs a message\n{cpu}")
    if idle:
        parts.append(f"Memory of an idle watcher: {idle['jobledger']:.1f} KiB, floor {idle['floor']:.1f} KiB")
    return "\n\n".join(parts)


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--tags"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def circumstances(plan: dict[str, Any]) -> dict[str, Any]:
    """Return where and with what a run was made."""
    return {
        "revision": _revision(),
        "plan": plan,
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": platform.platform(),
            "load_average": os.getloadavg(),
        },
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in PACKAGES},
        },
    }


def write(
    path: Path, about: dict[str, Any], calls: list[Result], watches: list[Result], idle: dict[str, float] | None
) -> None:
    """Write the JSON."""
    values = {
        "calls": [asdict(measured) for measured in calls],
        "watches": [asdict(measured) for measured in watches],
        "idle_kib": idle,
    }
    write_json(path, about | values)
