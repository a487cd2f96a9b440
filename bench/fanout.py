"""Fan-out: one job, many streams, and how many messages a second reach all of them together."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import grpc
from jobledger.v1 import job_service_pb2 as api
from jobledger.v1.filter_pb2 import JobFilter

from . import jobs
from .jobs import JOBS, WORK
from .load import Usage
from .targets import Stream, Target

LEAD: Final = 16
"""How many messages the foremost stream may be ahead of the average one; a watcher's queue holds more."""
DRIVERS: Final = 2
"""How many chunks of the job report progress at the same time: enough to keep a server busy, too few to merge often."""

OPENING: Final = 60.0
QUIET: Final = 0.1
EVERY: Final = api.WATCH_MODE_EVERY


class Streams:
    """Open streams against one server, and the number of messages that came."""

    def __init__(self, target: Target, path: str, request: bytes) -> None:
        self.target = target
        self.received = 0
        self.foremost = 0
        self.latest = b""
        self._path = path
        self._request = request
        self._calls: list[Stream] = []
        self._readers: list[asyncio.Task[None]] = []
        self._goals: dict[asyncio.Event, int] = {}

    async def open(self, count: int, first: int) -> float:
        """Open streams, and return when each has had its `first` messages: after so many seconds."""
        began = time.perf_counter()
        for slot in range(count):
            call = self.target.stream(self._path, self._request, slot)
            self._calls.append(call)
            self._readers.append(asyncio.create_task(self._read(call), name=f"stream {slot}"))
        async with asyncio.timeout(OPENING):
            await self.until(count * first)
        return time.perf_counter() - began

    async def _read(self, call: Stream) -> None:
        mine = 0
        async for message in call:
            mine += 1
            self.received += 1
            self.foremost = max(self.foremost, mine)
            self.latest = message
            if self._goals:
                self._wake()

    def _wake(self) -> None:
        for reached in [reached for reached, goal in self._goals.items() if self.received >= goal]:
            del self._goals[reached]
            reached.set()

    async def until(self, goal: int) -> None:
        """Wait until so many messages have come in all."""
        if self.received < goal:
            reached = asyncio.Event()
            self._goals[reached] = goal
            await reached.wait()

    async def quiet(self) -> None:
        """Wait until nothing comes any more."""
        before = -1
        while self.received != before:
            before = self.received
            await asyncio.sleep(QUIET)

    async def close(self) -> None:
        """End all streams; an error that ended one before is raised."""
        for call in self._calls:
            call.cancel()
        for ended in await asyncio.gather(*self._readers, return_exceptions=True):
            if isinstance(ended, grpc.aio.AioRpcError):
                raise ended


@asynccontextmanager
async def changes(streams: Streams, count: int, path: str, templates: Sequence[bytes]) -> AsyncIterator[None]:
    """Drive a server by calls that change what is watched: as fast as it makes them, unless streams fall behind."""
    call = streams.target.unary(path)

    async def drive(template: bytes) -> None:
        while True:
            await streams.until((streams.foremost - LEAD) * count)
            await call(jobs.stamped(template))

    drivers = [asyncio.create_task(drive(template), name="changes") for template in templates]
    try:
        yield
        for driver in drivers:
            if driver.done():
                driver.result()
    finally:
        for driver in drivers:
            driver.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)


@asynccontextmanager
async def flow(streams: Streams) -> AsyncIterator[None]:
    """Drive the floor: its streams write as fast as they can."""
    await streams.target.flow(on=True)
    try:
        yield
    finally:
        await streams.target.flow(on=False)


async def deliveries(
    streams: Streams, driven: AbstractAsyncContextManager[None], seconds: float, warm: float
) -> dict[str, Any]:
    """Let messages flow to all streams, and return what was seen."""
    async with driven:
        await asyncio.sleep(warm)
        start, before = Usage.now(streams.target), streams.received
        await asyncio.sleep(seconds)
        came = streams.received - before
        seen = Usage.now(streams.target).since(start, came)
    await streams.quiet()
    return {"calls": came, "bytes": len(streams.latest), **seen}


class Fanout:
    """The same number of streams on both servers."""

    def __init__(self, ours: Streams, bare: Streams, count: int, templates: Sequence[bytes]) -> None:
        self._sides = {"jobledger": ours, "floor": bare}
        self._opened: dict[str, float] = {}
        self._count = count
        self._templates = templates

    async def open(self, first: int) -> None:
        """Open all streams; those of Jobledger have `first` messages each before there is any change."""
        for side, streams in self._sides.items():
            self._opened[side] = await streams.open(self._count, first if side == "jobledger" else 1)

    async def measure(self, side: str, seconds: float, warm: float) -> dict[str, Any]:
        """Let messages flow to all streams of one server, and return what was seen."""
        streams = self._sides[side]
        ours = changes(streams, self._count, f"{WORK}/Heartbeat", self._templates)
        seen = await deliveries(streams, flow(streams) if side == "floor" else ours, seconds, warm)
        return {"opened_s": self._opened[side], **seen}

    async def close(self) -> None:
        """Close the streams of both."""
        for streams in self._sides.values():
            await streams.close()


async def open_fanout(ours: Target, bare: Target, watch: str, count: int) -> Fanout:
    """Make a job, watch it, let the floor learn the message of a change, and open all streams."""
    kind = f"bench.{watch.lower()}-{count}-{time.monotonic_ns()}"
    (job_id,) = await jobs.create(ours, kind, 1, 5)
    leases = await jobs.claim_all(ours, kind)
    templates = [jobs.heartbeat([lease]) for lease in leases[:DRIVERS]]
    path, request = f"{JOBS}/{watch}", watch_request(watch, job_id, kind)
    await bare.load(path, await a_change(ours, path, request, templates[0]))
    fanout = Fanout(Streams(ours, path, request), Streams(bare, path, request), count, templates)
    await fanout.open(first=2 if watch == "WatchJobs" else 1)
    return fanout


def watch_request(watch: str, job_id: str, kind: str) -> bytes:
    """Return the request of WatchJob, or of WatchJobs with a filter that the job matches."""
    if watch == "WatchJob":
        return api.WatchJobRequest(job_id=job_id, mode=EVERY).SerializeToString()
    filter_ = JobFilter(kinds=[kind], labels={"team": "documents"})
    return api.WatchJobsRequest(filter=filter_, mode=EVERY).SerializeToString()


async def a_change(ours: Target, path: str, request: bytes, template: bytes) -> bytes:
    """Return the message that a heartbeat makes."""
    call = ours.stream(path, request, 0)
    heartbeat, driver = ours.unary(f"{WORK}/Heartbeat"), None
    changed = api.WATCH_MESSAGE_TYPE_CHANGED
    try:
        async for message in call:
            if driver is None:
                driver = asyncio.create_task(_beat(heartbeat, template), name="a change")
            if api.WatchJobResponse.FromString(message).type == changed:
                return message
    finally:
        call.cancel()
        if driver is not None:
            await driver
    raise ValueError(f"{path} ended before it sent a change")


async def _beat(heartbeat: Any, template: bytes) -> None:  # noqa: ANN401  generic in its stubs only
    await heartbeat(jobs.stamped(template))
