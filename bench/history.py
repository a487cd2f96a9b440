"""A watch that reads history: `python -m bench.history` measures WatchJobs in mode EVERY from the oldest event on.

Some jobs are created, claimed and reported on; their events are then repeated, each at a position of its own.
"""

import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop
from jobledger.v1 import job_service_pb2 as api
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.tables import events, ledger
from jobledger_service.core.read.reading import ReadStore
from sqlalchemy import delete, insert, select, update

from . import jobs
from .databases import STORES, fresh
from .jobs import JOBS
from .processes import Served, jobledger
from .report import rows, run_benchmark
from .targets import Target

KIND: Final = "bench.history"
SEEDED: Final = 500
"""Jobs whose events are repeated: three of each."""
WRITTEN_AT_ONCE: Final = 10_000
HEADS: Final = ("messages", "events/s", "min to max", "server CPU µs an event", "user", "kernel")


async def _make_events(server: Served) -> None:
    target = Target(server.address, server.pid)
    await jobs.create(target, KIND, SEEDED, 1)
    for lease in await jobs.claim_all(target, KIND):
        await target.unary(f"{jobs.WORK}/Heartbeat")(jobs.stamped(jobs.heartbeat([lease])))
    await target.close()


def _repeat_events(url: str, count: int) -> bytes:
    """Repeat the events until there are so many, and return the cursor before the first."""
    database = open_database(url)
    try:
        reads = ReadStore(database)
        cursors = Cursors(reads.epoch.id, lambda: reads.history.terms)
        with database.write() as connection:
            rows = connection.execute(select(events).order_by(events.c.position)).mappings().all()
            connection.execute(delete(events))
            for begin in range(0, count, WRITTEN_AT_ONCE):
                part = range(begin + 1, min(begin + WRITTEN_AT_ONCE, count) + 1)
                connection.execute(insert(events), [_moved(rows[at % len(rows)], at, cursors) for at in part])
            connection.execute(update(ledger).values(position=count, trimmed=0))
        return cursors.encode(0)
    finally:
        database.close()


def _moved(row: Mapping[Any, Any], position: int, cursors: Cursors) -> dict[str, Any]:
    message = api.WatchJobResponse.FromString(row["message"])
    message.cursor, message.event.position = cursors.encode(position), position
    return {**row, "position": position, "message": message.SerializeToString()}


async def _read(target: Target, request: bytes, count: int) -> None:
    """Read the whole history; raises ValueError when an event is missing or out of order."""
    stream, position = target.stream(f"{JOBS}/WatchJobs", request, 0), 0
    async for raw in stream:
        for message in _messages(api.WatchJobsResponse.FromString(raw)):
            if message.event.position != position + 1:
                raise ValueError(f"event {message.event.position} came after {position}")
            position += 1
        if position == count:
            break
    stream.cancel()


def _messages(message: api.WatchJobsResponse) -> Sequence[api.WatchJobsResponse]:
    return (message, *message.following)


async def _measure(server: Served, request: bytes, count: int, rounds: int) -> tuple[str, ...]:
    target, seen = Target(server.address, server.pid), []
    for _ in range(rounds):
        began, cpu = time.perf_counter(), target.cpu()
        await _read(target, request, count)
        seconds, used = time.perf_counter() - began, target.cpu()
        seen.append((count / seconds, *((b - a) / count * 1e6 for a, b in zip(cpu, used, strict=True))))
    await target.close()
    rates, user, kernel = (list(column) for column in zip(*seen, strict=True))
    middle = statistics.median
    return (
        f"{middle(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{middle(user) + middle(kernel):.1f}",
        f"{middle(user):.1f}",
        f"{middle(kernel):.1f}",
    )


def _table(store: str, count: int, rounds: int) -> str:
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name, fresh(store, Path(name)) as database:
        with jobledger(Path(name), database) as server:
            uvloop.run(_make_events(server))
        cursor = _repeat_events(database, count)
        with jobledger(Path(name), database) as server:
            lines = []
            for label, batches in (("one event each", False), ("batches", True)):
                request = api.WatchJobsRequest(cursor=cursor, mode=api.WATCH_MODE_EVERY, batches=batches)
                measured = uvloop.run(_measure(server, request.SerializeToString(), count, rounds))
                lines.append((label, *measured))
    return f"WatchJobs, mode EVERY, reading {count:,} events of history\n{rows(HEADS, lines)}"


def main() -> int:
    """Run the command line."""
    parser = ArgumentParser(prog="python -m bench.history", description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what Jobledger runs on (default: sqlite)")
    parser.add_argument("--events", type=int, default=200_000, help="events to read (default: 200,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    options = parser.parse_args()
    return run_benchmark("bench.history", lambda: _table(options.store, options.events, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
