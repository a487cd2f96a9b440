"""Overload: `python -m bench.overload` creates jobs at several times the rate that the server can carry out.

First it measures that rate with up to 64 calls in flight, then it sends calls by the clock, whatever becomes
of the earlier ones, and looks at GetJob and health meanwhile: for foreign callers and for those of the SDK, with small
jobs and with large ones, each on a server of its own. In the end the floor refuses as many calls as the server did, and
does nothing else: what that costs, no server on gRPC for Python can save.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import grpc
import uvloop

from .databases import STORES, fresh
from .overload_callers import BACKOFFS, HELD_BACK, REFUSED, Callers, Ended
from .processes import Served, floor, jobledger
from .report import rows, run_benchmark

IN_FLIGHT: Final = 64
IN_FLIGHT_CHUNKS: Final = 12_800
"""The chunks in flight while the capacity is measured: enough for full batches, and too few for a refusal."""
WARM_UP: Final = 2.0
CAPACITY_SECONDS: Final = 8.0
FLOOR_SECONDS: Final = 10.0
METHOD: Final = "/jobledger.v1.JobService/CreateJob"
EXPECTED: Final = {"OK", REFUSED, HELD_BACK}


@dataclass(frozen=True, slots=True)
class Found:
    """What one run found: rates a second, latencies in milliseconds, CPU in cores."""

    capacity: float
    offered: float
    held_back: float
    refused: float
    goodput: float
    accepted_p99: float | None
    refused_p99: float | None
    held_back_p99: float | None
    get_job_p99: float | None
    health_p99: float | None
    otherwise: int
    server_cpu: float
    generator_cpu: float
    floor_cpu: float


Value = Callable[[Found], float | None]
LINES: Final[tuple[tuple[str, str, Value, float | None], ...]] = (
    ("capacity, jobs a second", ",.0f", lambda run: run.capacity, None),
    ("offered calls a second", ",.0f", lambda run: run.offered, None),
    ("held back by the client, a second", ",.0f", lambda run: run.held_back, None),
    ("refused by the server, a second", ",.0f", lambda run: run.refused, None),
    ("goodput, of the capacity", ".0%", lambda run: run.goodput / run.capacity, 0.8),
    ("accepted, p99 ms", ",.0f", lambda run: run.accepted_p99, 2_000),
    ("refused by the server, p99 ms", ",.0f", lambda run: run.refused_p99, 100),
    ("held back by the client, p99 ms", ",.0f", lambda run: run.held_back_p99, 100),
    ("GetJob meanwhile, p99 ms", ",.0f", lambda run: run.get_job_p99, 200),
    ("health meanwhile, p99 ms", ",.0f", lambda run: run.health_p99, 200),
    ("ended as CANCELLED or otherwise", ",.0f", lambda run: run.otherwise, 0),
    ("CPU of the server, cores", ".2f", lambda run: run.server_cpu, None),
    ("CPU of the load generator, cores", ".2f", lambda run: run.generator_cpu, None),
    ("CPU of the floor that refuses as many, cores", ".2f", lambda run: run.floor_cpu, None),
)
"""The lines of the table: what it is, its form, its value, its target: at least for goodput, else at most."""


async def overload(served: Served, kind: str, chunks: int, times: float, seconds: float) -> Found:
    """Measure the capacity and the overload of a server; the floor's CPU is still missing."""
    in_flight = min(IN_FLIGHT, IN_FLIGHT_CHUNKS // chunks)
    async with Callers(served.address, kind, chunks) as callers:
        await callers.capacity(in_flight, WARM_UP)
        before = await callers.capacity(in_flight, CAPACITY_SECONDS)
        used, generator, began = served.cpu, time.process_time(), time.perf_counter()
        looking = asyncio.create_task(callers.look(seconds))
        within, ended = await callers.send(times * before, seconds)
        looks, took = await looking, time.perf_counter() - began
        used, generator = (served.cpu - used) / took, (time.process_time() - generator) / took
        capacity = (before + await callers.capacity(in_flight, CAPACITY_SECONDS)) / 2
    return Found(
        capacity=capacity,
        offered=ended.total / seconds,
        held_back=within.count(HELD_BACK) / seconds,
        refused=within.count(REFUSED) / seconds,
        goodput=within.count("OK") / seconds,
        accepted_p99=ended.p99("OK"),
        refused_p99=ended.p99(REFUSED),
        held_back_p99=ended.p99(HELD_BACK),
        get_job_p99=looks.p99("GetJob"),
        health_p99=looks.p99("health"),
        otherwise=_otherwise(ended, EXPECTED) + _otherwise(looks, {"GetJob", "health"}),
        server_cpu=used,
        generator_cpu=generator,
        floor_cpu=0.0,
    )


def _otherwise(ended: Ended, expected: set[str]) -> int:
    return sum(ended.count(code) for code in ended.seconds.keys() - expected)


async def refuse(served: Served, rate: float) -> float:
    """Have the floor refuse calls at a rate; return the cores that this takes."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        load: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bench.Floor/Load")
        await load(json.dumps({"path": METHOD, "reply": None}).encode())
    async with Callers(served.address, "foreign", 1) as callers:
        used = served.cpu
        _, ended = await callers.send(rate, FLOOR_SECONDS)
        return (served.cpu - used) / ended.total * rate


def measure(store: str, kind: str, chunks: int, times: float, seconds: float) -> Found:
    """Measure one kind of callers with jobs of one size, on servers of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobledger-bench-")))
        ours = stack.enter_context(jobledger(folder, stack.enter_context(fresh(store, folder))))
        bound = WARM_UP + 2 * CAPACITY_SECONDS + seconds + FLOOR_SECONDS
        print(f"bench.overload: {kind}, {chunks:,} chunks a job: about {bound:.0f} s", file=sys.stderr)
        result = uvloop.run(overload(ours, kind, chunks, times, seconds))
        if not result.refused:
            return result
        return replace(result, floor_cpu=uvloop.run(refuse(stack.enter_context(floor(folder)), result.refused)))


def _cell(form: str, value: float | None, target: float | None) -> str:
    if value is None:
        return "none"
    is_missed = target is not None and (value < target if form.endswith("%") else value > target)
    return f"{value:{form}}" + (" MISSED" if is_missed else "")


def table(results: dict[str, Found]) -> str:
    """Return a line for each figure, with its target, and a column for each run."""
    lines = [
        (
            name,
            "" if target is None else ("≥ " if form.endswith("%") else "≤ ") + f"{target:{form}}",
            *(_cell(form, value(run), target) for run in results.values()),
        )
        for name, form, value, target in LINES
    ]
    return rows(("what", "target", *results), lines)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--chunks", type=int, nargs="+", default=[100, 1_000], metavar="N", help="chunks of each job")
    parser.add_argument("--callers", nargs="+", choices=BACKOFFS, default=["foreign", "SDK"], help="who calls")
    parser.add_argument("--times", type=float, default=4, metavar="X", help="times the capacity (default: 4)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="how long each (default: 60)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what Jobledger runs on (default: sqlite)")
    options = parser.parse_args()
    runs = [(kind, chunks) for chunks in options.chunks for kind in options.callers]
    return run_benchmark(
        "bench.overload",
        lambda: table(
            {
                f"{chunks:,} chunks, {kind}": measure(options.store, kind, chunks, options.times, options.seconds)
                for kind, chunks in runs
            }
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
