"""A restart: `python -m bench.restart` shows how soon all watchers are back, and whether any of them is refused.

The server is killed while it has as many streams of WatchJobs, and started again on its database. When it says that it
is ready, all watchers open their streams again at once, each with its cursor, from two processes over four connections
each, and none of them waits before. A watcher is back when it has the event that it missed.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from jobledger.v1 import job_service_pb2 as api
from jobledger.v1.filter_pb2 import JobFilter

from . import jobs
from .databases import fresh
from .processes import ROOT, Generator, Served, jobledger, rss_kib, tasked
from .report import circumstances, parser_of, rows, run_benchmark, write_json
from .targets import Target, percentiles

LATEST: Final = ROOT / "bench" / "results" / "restart.json"
PROCESSES: Final = 2
KINDS: Final = 100
"""Watchers are divided among so many filters, each by a kind and a label."""
SEEDED: Final = 2_000
QUEUE_WAIT: Final = "10s"
"""So that no write is refused for its wait while the ledger is filled."""


def _filter(number: int) -> JobFilter:
    return JobFilter(kinds=[f"bench.restart-{number}"], labels={"team": "documents"})


async def _prepare(served: Served) -> list[str]:
    """Fill the ledger; return the requests of watchers which have seen all but one event of their kind."""
    target = Target(served.address, served.pid)
    await jobs.create(target, "bench.seed", SEEDED, 5)
    requests = []
    for number in range(KINDS):
        filter_ = _filter(number)
        await jobs.create(target, filter_.kinds[0], 1, 5)
        listed = api.ListJobsRequest(filter=filter_, page_size=1).SerializeToString()
        cursor = api.ListJobsResponse.FromString(await target.unary(f"{jobs.JOBS}/ListJobs")(listed)).cursor
        request = api.WatchJobsRequest(filter=filter_, mode=api.WATCH_MODE_EVERY, cursor=cursor)
        requests.append(b64encode(request.SerializeToString()).decode())
        await jobs.create(target, filter_.kinds[0], 1, 5)
    await target.close()
    return requests


def _open(watchers: list[Generator], address: str, count: int, requests: list[str]) -> dict[str, Any]:
    """Have all watchers open their streams at once; return what became of them."""
    began = time.monotonic()
    for number, watcher in enumerate(watchers):
        share = count // PROCESSES + (number < count % PROCESSES)
        watcher.begin("open", address=address, count=share, requests=requests)
    answers = [watcher.answer() for watcher in watchers]
    refused: dict[str, int] = {}
    for answer in answers:
        for why, times in answer["refused"].items():
            refused[why] = refused.get(why, 0) + times
    seconds = sorted(second for answer in answers for second in answer["seconds"])
    return {"seconds": seconds, "all_s": time.monotonic() - began, "refused": refused}


def _measured(store: str, count: int, folder: Path) -> dict[str, Any]:
    with fresh(store, folder) as database, ExitStack() as stack:
        watchers = [stack.enter_context(tasked("returning", [], folder)) for _ in range(PROCESSES)]
        with jobledger(folder, database, "--queue-wait", QUEUE_WAIT) as first:
            requests = asyncio.run(_prepare(first))
            _open(watchers, first.address, count, requests)
            os.kill(first.pid, signal.SIGKILL)
        for watcher in watchers:
            watcher.do("close")
        began = time.monotonic()
        with jobledger(folder, database) as second:
            ready, cpu = time.monotonic() - began, second.cpu
            opened = _open(watchers, second.address, count, requests)
            opened |= {"ready_s": ready, "server_s": second.cpu - cpu, "server_kib": rss_kib(second.pid)}
            for watcher in watchers:
                watcher.do("close")
        return opened


def measure(store: str, count: int, path: Path) -> str:
    """Measure one restart, write the JSON, and return the table."""
    about = circumstances({"store": store, "streams": count})
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        measured = _measured(store, count, Path(name))
    write_json(path, about | measured)
    heads = ("streams", "ready in s", "back p50", "p99", "all", "refused", "server's CPU s", "MiB")
    seen = percentiles(measured["seconds"])
    middle, late = (f"{seen[name] / 1_000:.1f}" for name in ("p50", "p99"))
    times = (f"{measured['ready_s']:.1f}", middle, late, f"{measured['all_s']:.1f}")
    rest = (
        f"{sum(measured['refused'].values()):,}",
        f"{measured['server_s']:.1f}",
        f"{measured['server_kib'] / 1024:.0f}",
    )
    return rows(heads, [(f"{count:,}", *times, *rest)]) + "".join(f"\n{why}" for why in measured["refused"])


def main() -> int:
    """Run the command line."""
    parser = parser_of("bench.restart", __doc__, LATEST, with_store=True)
    parser.add_argument("--streams", type=int, default=10_000, help="watchers (default: 10,000)")
    options = parser.parse_args()
    return run_benchmark("bench.restart", lambda: measure(options.store, options.streams, options.json))


if __name__ == "__main__":
    sys.exit(main())
