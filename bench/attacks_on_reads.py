"""Attacks by what is read and watched."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import grpc
from google.protobuf.struct_pb2 import Struct
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import worker_service_pb2 as work_api
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.export_pb2 import EXPORT_FORMAT_JSON_LINES, ExportJobsRequest
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_pb2 import JOB_VIEW_FULL

from .attacks import Attack, Score, at_once, over_and_over, read_out
from .jobs import JOBS, WORK
from .owner import Owner
from .targets import Stream

WIDE: Final = "w" * 250
MALFORMED: Final = b"\xff\xff\xff\xff"
LARGE_EVENTS: Final = 330
"""Events of 16 KB after which a stream counts as read."""
HEALTH: Final = "/grpc.health.v1.Health/Check"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class CatchUps(Attack):
    """Eight watches at a time catch up on 330 events of 16 KB each, in mode EVERY."""

    cursor = b""

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Create the jobs after a cursor."""
        self.cursor = await owners[0].cursor()
        labels = {f"label-{number}": WIDE for number in range(64)}
        request = jobs_api.CreateJobRequest(kind="wide", item_count=1, labels=labels)
        await at_once(8, 330, lambda _: owners[0].create(request))

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Catch up until the newest job has come, and begin again."""
        request = jobs_api.WatchJobsRequest(
            cursor=self.cursor, mode=jobs_api.WATCH_MODE_EVERY, filter=JobFilter(kinds=["wide"])
        ).SerializeToString()

        async def catch_up(slot: int) -> None:
            stream = owners[0].stream(f"{JOBS}/WatchJobs", request, slot)
            await score.count(_messages(stream, 330, until))

        await over_and_over(8, until, catch_up)


async def _messages(stream: Stream, count: int, until: float) -> None:
    try:
        async with asyncio.timeout(max(until - time.perf_counter(), 0.0)):
            async for _ in stream:
                count -= 1
                if count == 0:
                    return
    finally:
        stream.cancel()


class Watchers(Attack):
    """2,000 watches that match nothing of the bystander's, over four keys."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []

    async def open(self, owners: Sequence[Owner], score: Score) -> None:
        """Open them, and wait for the first message of each."""
        request = jobs_api.WatchJobsRequest(filter=JobFilter(kinds=["nothing"])).SerializeToString()
        self._streams = [owners[n % len(owners)].stream(f"{JOBS}/WatchJobs", request, n) for n in range(2_000)]
        await at_once(100, len(self._streams), lambda number: score.count(self._streams[number].read()))

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:  # noqa: ARG002  they are open
        """Hold them."""
        await asyncio.sleep(until - time.perf_counter())
        for stream in self._streams:
            stream.cancel()


class UnreadWatches(Attack):
    """Thirty watches of its own events that are never read, beside one that is; "READ" counts what came to that one."""

    def __init__(self) -> None:
        self._reader: Stream | None = None
        self._unread: list[Stream] = []
        self._filter = JobFilter(kinds=["unread"])

    async def open(self, owners: Sequence[Owner], score: Score) -> None:
        """Have the reader read enough to count as one, then open the others."""
        request = jobs_api.WatchJobsRequest(filter=self._filter, mode=jobs_api.WATCH_MODE_EVERY, from_now=True)
        self._reader = owners[0].stream(f"{JOBS}/WatchJobs", request.SerializeToString())
        await self._reader.read()
        labels = {f"label-{number}": WIDE for number in range(64)}
        large = jobs_api.CreateJobRequest(kind="unread", item_count=1, labels=labels)

        async def create(_: int) -> None:
            await score.count(owners[0].create(large))

        await asyncio.gather(at_once(8, LARGE_EVENTS, create), _some_of(self._reader, LARGE_EVENTS))
        self._unread = [owners[0].stream(f"{JOBS}/WatchJobs", request.SerializeToString(), n) for n in range(30)]
        for stream in self._unread:
            await stream.read()

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Create jobs, and count what the reader gets."""
        request = jobs_api.CreateJobRequest(kind="unread", item_count=1).SerializeToString()

        async def create(slot: int) -> None:
            await score.count(owners[0].send(f"{JOBS}/CreateJob", request, slot))

        reader = self._reader
        assert reader is not None  # noqa: S101  it was opened
        reading = asyncio.create_task(_count(reader, score))
        await over_and_over(16, until, create)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        for stream in (reader, *self._unread):
            stream.cancel()


async def _some_of(stream: Stream, count: int) -> None:
    for _ in range(count):
        await stream.read()


async def _count(stream: Stream, score: Score) -> None:
    while await stream.read() is not grpc.aio.EOF:
        score.codes["READ"] += 1


class LargeReads(Attack):
    """Sixteen reads at a time of a job of 1,000 chunks with artifacts, in full, by GetJob, ListJobs and ListChunks."""

    def __init__(self) -> None:
        self._requests: list[tuple[str, bytes]] = []

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Complete the chunks of one job, each with artifacts of 8 KB."""
        job_id = await owners[0].create(jobs_api.CreateJobRequest(kind="large", item_count=1_000, chunk_size=1))
        metadata = Struct()
        metadata.update({"text": "x" * 3_900})
        artifacts = {name: Artifact(uri=f"s3://scans-eu-1/{name}", metadata=metadata) for name in ("text", "boxes")}
        leases = await owners[0].claim("large", 1_000)
        for begin in range(0, len(leases), 100):
            done = [
                work_api.ChunkCompletion(lease_token=lease, progress=work_api.ProgressReport(artifacts=artifacts))
                for lease in leases[begin : begin + 100]
            ]
            request = work_api.CompleteChunksRequest(completions=done)
            await owners[0].call(f"{WORK}/CompleteChunks", request, work_api.CompleteChunksResponse)
        large = JobFilter(kinds=["large"])
        self._requests = [
            (f"{JOBS}/GetJob", jobs_api.GetJobRequest(job_id=job_id, view=JOB_VIEW_FULL).SerializeToString()),
            (f"{JOBS}/ListJobs", jobs_api.ListJobsRequest(filter=large, view=JOB_VIEW_FULL).SerializeToString()),
            (f"{JOBS}/ListChunks", jobs_api.ListChunksRequest(job_id=job_id, page_size=1_000).SerializeToString()),
        ]

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Read over and over."""

        async def read(slot: int) -> None:
            path, request = self._requests[slot % len(self._requests)]
            await score.count(owners[0].send(path, request, slot))

        await over_and_over(16, until, read)


class SlowReads(Attack):
    """Thirty-two reads at a time of all that there is: lists by a search that finds little, and exports."""

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Have some thousands of jobs."""
        requests = [
            jobs_api.CreateJobRequest(kind="slow", display_name=f"Invoices part_{n:07d}", item_count=1)
            for n in range(3_000)
        ]
        await at_once(32, len(requests), lambda n: owners[0].create(requests[n]))

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Half of them list, half export."""
        listed = jobs_api.ListJobsRequest(
            filter=JobFilter(kinds=["slow"], search="part_0000001"), page_size=1_000
        ).SerializeToString()
        exported = ExportJobsRequest(format=EXPORT_FORMAT_JSON_LINES).SerializeToString()

        async def read(slot: int) -> None:
            if slot % 2:
                await score.count(owners[0].send(f"{JOBS}/ListJobs", listed, slot))
            else:
                await score.count(read_out(owners[0].stream(f"{JOBS}/ExportJobs", exported, slot), until))

        await over_and_over(32, until, read)


class MalformedBytes(Attack):
    """Sixty-four calls at a time of health and reflection, with bytes that are no message."""

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Send them over and over."""

        async def send(slot: int) -> None:
            if slot % 2:
                await score.count(owners[0].send(HEALTH, MALFORMED, slot))
            else:
                await score.count(owners[0].exchange(REFLECTION, MALFORMED, slot))

        await over_and_over(64, until, send)
