"""Overload: `python -m bench.overload` creates jobs at several times the rate that the server can carry out.

First it measures that rate with a fixed number of calls in flight, then it sends calls by the clock, whatever becomes
of the earlier ones, and looks at GetJob and health meanwhile. At the end the floor refuses calls at the same rate, and
does nothing else: what that costs, no server on gRPC for Python can save.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final

import grpc
import uvloop
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from jobledger.v1.job_service_pb2_grpc import JobServiceStub

from .databases import STORES, fresh
from .processes import Served, floor, jobledger
from .report import rows, run_benchmark

CONNECTIONS: Final = 4
IN_FLIGHT: Final = 64
WARM_UP: Final = 2.0
CAPACITY_SECONDS: Final = 8.0
DEADLINE: Final = 10.0
PROBE_EVERY: Final = 0.05
TICK: Final = 0.002
"""Seconds between two looks at how many calls are due."""
FLOOR_SECONDS: Final = 10.0
HEALTH: Final = "/grpc.health.v1.Health/Check"
METHOD: Final = "/jobledger.v1.JobService/CreateJob"
HEADS: Final = ("what", "a second", "p50 ms", "p99 ms")


@dataclass
class Ended:
    """How the calls of a run ended: seconds of each, by code."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def wait_for(self, call: Awaitable[object], name: str = "") -> None:
        """Await a call, and note its code, or the name it is given when it is answered."""
        began = time.perf_counter()
        try:
            await call
            code = name or "OK"
        except grpc.aio.AioRpcError as error:
            code = f"{name} {error.code().name}".strip()
        self.seconds.setdefault(code, []).append(time.perf_counter() - began)

    def rows(self, seconds: float) -> list[tuple[str, ...]]:
        """Return a row for each code."""
        return [
            (code, f"{len(each) / seconds:,.0f}", f"{_part(each, 0.5) * 1e3:.0f}", f"{_part(each, 0.99) * 1e3:.0f}")
            for code, each in self.seconds.items()
        ]


def _part(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Callers:
    """Four connections that create jobs, and one that looks at what others get."""

    def __init__(self, address: str, chunks: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options) for _ in range(CONNECTIONS + 1)]
        self._stubs = cycle([JobServiceStub(channel) for channel in self._channels[:-1]])
        self._bystander = JobServiceStub(self._channels[-1])
        self._health: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channels[-1].unary_unary(HEALTH)
        self._request = CreateJobRequest(kind="overload", item_count=chunks, chunk_size=1)

    def create(self) -> Awaitable[object]:
        """Create a job."""
        created: Awaitable[object] = next(self._stubs).CreateJob(self._request, timeout=DEADLINE)
        return created

    async def capacity(self, seconds: float) -> float:
        """Return how many jobs a second are created with IN_FLIGHT calls in flight."""
        ended, end = Ended(), time.perf_counter() + seconds

        async def go_on() -> None:
            while time.perf_counter() < end:
                await ended.wait_for(self.create())

        await asyncio.gather(*(go_on() for _ in range(IN_FLIGHT)))
        return len(ended.seconds["OK"]) / seconds

    async def send(self, rate: float, seconds: float) -> Ended:
        """Send calls at a rate, whatever becomes of them; return how those ended that ended by then."""
        ended, calls, sent = Ended(), set[asyncio.Task[None]](), 0
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < seconds:
            for _ in range(int(now * rate) - sent):
                calls.add(task := asyncio.create_task(ended.wait_for(self.create())))
                task.add_done_callback(calls.discard)
                sent += 1
            await asyncio.sleep(TICK)
        within = Ended({code: each[:] for code, each in ended.seconds.items()})
        await asyncio.gather(*calls)
        unfinished = sum(map(len, ended.seconds.values())) - sum(map(len, within.seconds.values()))
        print(f"bench.overload: {sent:,} calls, {unfinished} of them ended later", file=sys.stderr)
        return within

    async def look(self, ended: Ended, seconds: float) -> None:
        """Read a job and ask for the health, again and again."""
        created = await self._bystander.CreateJob(CreateJobRequest(kind="bystander", item_count=1))
        looks: dict[str, Callable[[], Awaitable[object]]] = {
            "GetJob": lambda: self._bystander.GetJob(GetJobRequest(job_id=created.job.job_id), timeout=DEADLINE),
            "health": lambda: self._health(b"", timeout=DEADLINE),
        }
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for name, call in looks.items():
                await ended.wait_for(call(), name)
            await asyncio.sleep(PROBE_EVERY)

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


async def overload(served: Served, chunks: int, times: float, seconds: float) -> tuple[float, list[tuple[str, ...]]]:
    """Return how many calls were refused a second, and the table's rows."""
    callers, seen = Callers(served.address, chunks), Ended()
    await callers.capacity(WARM_UP)
    before = await callers.capacity(CAPACITY_SECONDS)
    looking = asyncio.create_task(callers.look(seen, seconds))
    ended = await callers.send(times * before, seconds)
    await looking
    after = await callers.capacity(CAPACITY_SECONDS)
    await callers.close()
    capacity, done = (before + after) / 2, len(ended.seconds.get("OK", [])) / seconds
    refused = sum(map(len, ended.seconds.values())) / seconds - done
    looks: Counter[str] = Counter({code: len(each) for code, each in seen.seconds.items()})
    print(f"bench.overload: looks meanwhile: {dict(looks)}", file=sys.stderr)
    table = [(f"capacity with {IN_FLIGHT} in flight", f"{capacity:,.0f}", "", ""), *ended.rows(seconds)]
    table += [(f"goodput: {done / capacity:.0%} of the capacity", f"{done:,.0f}", "", ""), *seen.rows(seconds)]
    return refused, table


async def refuse(served: Served, rate: float) -> float:
    """Have the floor refuse calls at a rate; return the CPU seconds that each cost it."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        load: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bench.Floor/Load")
        await load(json.dumps({"path": METHOD, "reply": None}).encode())
    callers, used = Callers(served.address, 1), served.cpu
    ended = await callers.send(rate, FLOOR_SECONDS)
    await callers.close()
    return (served.cpu - used) / sum(map(len, ended.seconds.values()))


def measure(store: str, chunks: int, times: float, seconds: float) -> list[tuple[str, ...]]:
    """Return the table's rows."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobledger-bench-")))
        ours = stack.enter_context(jobledger(folder, stack.enter_context(fresh(store, folder))))
        print(f"bench.overload: about {seconds + 3 * CAPACITY_SECONDS:.0f} s", file=sys.stderr)
        refused, table = uvloop.run(overload(ours, chunks, times, seconds))
        if refused:
            cost = uvloop.run(refuse(stack.enter_context(floor(folder)), refused))
            table.append((f"the floor refuses as many with {refused * cost:.0%} of a core", f"{refused:,.0f}", "", ""))
        return table


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--chunks", type=int, default=100, metavar="N", help="chunks of each job (default: 100)")
    parser.add_argument("--times", type=float, default=4, metavar="X", help="times the capacity (default: 4)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="how long (default: 60)")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what Jobledger runs on (default: sqlite)")
    given = parser.parse_args()
    return run_benchmark(
        "bench.overload", lambda: rows(HEADS, measure(given.store, given.chunks, given.times, given.seconds))
    )


if __name__ == "__main__":
    sys.exit(main())
