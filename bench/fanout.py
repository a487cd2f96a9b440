"""Fan-out: one job, many streams, and how many messages a second reach all of them together."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from jobledger.v1 import job_service_pb2 as api

from . import jobs
from .jobs import JOBS, WORK
from .load import Usage
from .targets import Stream, Target

LEAD: Final = 16
"""How many events the driver may be ahead of what the streams have received; a watcher's queue holds more."""

OPENING: Final = 60.0
QUIET: Final = 0.1
EVERY: Final = api.WATCH_MODE_EVERY


class Streams:
    """Open streams against one server, and the number of messages that came."""

    def __init__(self, target: Target, path: str, request: bytes) -> None:
        self.target = target
        self.received = 0
        self.latest = b""
        self._path = path
        self._request = request
        self._calls: list[Stream] = []
        self._readers: list[asyncio.Task[None]] = []
        self._goal = 0
        self._reached = asyncio.Event()

    async def open(self, count: int, first: int) -> None:
        """Open streams, and return when each has had its `first` messages."""
        for slot in range(count):
            call = self.target.stream(self._path, self._request, slot)
            self._calls.append(call)
            self._readers.append(asyncio.create_task(self._read(call), name=f"stream {slot}"))
        async with asyncio.timeout(OPENING):
            await self.until(count * first)

    async def _read(self, call: Stream) -> None:
        async for message in call:
            self.received += 1
            self.latest = message
            if self.received >= self._goal:
                self._reached.set()

    async def until(self, goal: int) -> None:
        """Wait until so many messages have come in all."""
        self._goal = goal
        while self.received < goal:
            self._reached.clear()
            await self._reached.wait()

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
async def heartbeats(streams: Streams, count: int, template: bytes) -> AsyncIterator[None]:
    """Drive Jobledger: one event after the other, no further ahead than LEAD of what the streams received."""
    call = streams.target.unary(f"{WORK}/Heartbeat")

    async def drive() -> None:
        base, sent = streams.received, 0
        while True:
            await streams.until(base + (sent - LEAD) * count)
            await call(jobs.stamped(template))
            sent += 1

    driver = asyncio.create_task(drive(), name="heartbeats")
    try:
        yield
        if driver.done():
            driver.result()
    finally:
        driver.cancel()
        await asyncio.gather(driver, return_exceptions=True)


@asynccontextmanager
async def flow(streams: Streams) -> AsyncIterator[None]:
    """Drive the floor: its streams write as fast as they can."""
    await streams.target.flow(on=True)
    try:
        yield
    finally:
        await streams.target.flow(on=False)


class Fanout:
    """The same number of streams on both servers."""

    def __init__(self, ours: Streams, bare: Streams, count: int, template: bytes) -> None:
        self._sides = {"jobledger": ours, "floor": bare}
        self._count = count
        self._template = template

    async def measure(self, side: str, seconds: float, warm: float) -> dict[str, Any]:
        """Let messages flow to all streams of one server, and return what was seen."""
        streams = self._sides[side]
        driven = flow(streams) if side == "floor" else heartbeats(streams, self._count, self._template)
        async with driven:
            await asyncio.sleep(warm)
            start, before = Usage.now(streams.target), streams.received
            await asyncio.sleep(seconds)
            came = streams.received - before
            seen = Usage.now(streams.target).since(start, came)
        await streams.quiet()
        return {"calls": came, "bytes": len(streams.latest), **seen}

    async def close(self) -> None:
        """Close the streams of both."""
        for streams in self._sides.values():
            await streams.close()


async def open_fanout(ours: Target, bare: Target, watch: str, count: int) -> Fanout:
    """Make a job, watch it, let the floor learn the message of a change, and open all streams."""
    kind = f"bench.{watch.lower()}-{count}-{time.monotonic_ns()}"
    (job_id,) = await jobs.create(ours, kind, 1, 5)
    leases = await jobs.claim_all(ours, kind)
    template = jobs.heartbeat(leases[:1])
    path, request = f"{JOBS}/{watch}", watch_request(watch, job_id, kind)
    await bare.load(path, await a_change(ours, path, request, template))
    sides = Streams(ours, path, request), Streams(bare, path, request)
    await sides[0].open(count, first=2 if watch == "WatchJobs" else 1)
    await sides[1].open(count, first=1)
    return Fanout(*sides, count, template)


def watch_request(watch: str, job_id: str, kind: str) -> bytes:
    """Return the request of WatchJob, or of WatchJobs with a filter that the job matches."""
    if watch == "WatchJob":
        return api.WatchJobRequest(job_id=job_id, mode=EVERY).SerializeToString()
    wanted = api.JobFilter(kinds=[kind], labels={"team": "documents"})
    return api.WatchJobsRequest(filter=wanted, mode=EVERY).SerializeToString()


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
    raise ValueError(f"{path} ended before it told of a change")


async def _beat(heartbeat: Any, template: bytes) -> None:  # noqa: ANN401  generic in its stubs only
    await heartbeat(jobs.stamped(template))
