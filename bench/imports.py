"""An import: `python -m bench.imports --jobs 100000` has `jobledger import` send a file to an empty database.

The same file goes to the floor first, which reads the stream and keeps nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from .databases import STORES, fresh
from .processes import SERVER, Served, floor, jobledger
from .report import rows, run_benchmark

CLIENT: Final = SERVER.with_name("jobledger")
ITEMS: Final = 500
"""Of each chunk."""
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
HEADS: Final = ("server", "seconds", "jobs/s", "CPU µs a job")


def job(number: int, chunks: int, rng: Random) -> dict[str, Any]:
    """Return a job that ended, in the JSON form of ImportedJob."""
    create = BEGAN + timedelta(seconds=number)
    start = create + timedelta(seconds=rng.randrange(1, 600))
    state = rng.choices(["COMPLETED", "FAILED", "CANCELLED"], [88, 7, 5])[0]
    imported: dict[str, Any] = {
        "job": {
            "jobId": f"old-{rng.getrandbits(64):016x}",
            "kind": rng.choice(["crawl.images", "transcode.video", "ocr.pages"]),
            "displayName": f"Invoices of March, part {number:07d}.tar",
            "labels": {"team": "documents", "customer": f"c{number % 5_000}"},
            "itemCount": str(ITEMS * chunks),
        },
        "state": f"JOB_STATE_{state}",
        "createTime": create.isoformat(),
        "startTime": start.isoformat(),
        "endTime": (start + timedelta(seconds=rng.randrange(4, 7_200))).isoformat(),
    }
    if state == "FAILED":
        imported["error"] = {"code": "SOURCE_UNREADABLE", "message": "the archive ends too early"}
    return imported


def sent(served: Served, file: Path) -> tuple[float, float]:
    """Import a file, and return the seconds that it took, and the CPU seconds of the server."""
    began, used = time.perf_counter(), served.cpu
    subprocess.run([CLIENT, "import", file, "--target", served.address], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, served.cpu - used


def measure(store: str, jobs: int, chunks: int) -> list[tuple[str, ...]]:
    """Return a line for the floor and one for Jobledger."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobledger-bench-")))
        file, rng = folder / "jobs.jsonl", Random(1)  # noqa: S311  no secret, and the same each time
        with file.open("w") as lines:
            lines.writelines(f"{json.dumps(job(number, chunks, rng))}\n" for number in range(jobs))
        database = stack.enter_context(fresh(store, folder))
        servers = {
            "floor": stack.enter_context(floor(folder)),
            "jobledger": stack.enter_context(jobledger(folder, database)),
        }
        table: list[tuple[str, ...]] = []
        for name, served in servers.items():
            print(f"bench.imports: {jobs:,} jobs to the {name}", file=sys.stderr)
            seconds, cpu = sent(served, file)
            table.append((name, f"{seconds:.1f}", f"{jobs / seconds:,.0f}", f"{cpu / jobs * 1_000_000:.0f}"))
        return table


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--chunks", type=int, default=1, metavar="N", help="chunks of each (default: 1)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what they go to (default: sqlite)")
    options = parser.parse_args()
    return run_benchmark("bench.imports", lambda: rows(HEADS, measure(options.store, options.jobs, options.chunks)))


if __name__ == "__main__":
    sys.exit(main())
