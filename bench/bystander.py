"""The bystander: a process of an owner who does ordinary work, a few calls at a time, and checks what he gets."""

import asyncio
import itertools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import uvloop
from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import worker_service_pb2 as work_api
from jobledger.v1.filter_pb2 import JobFilter

from .jobs import JOBS, LEASE, WORK
from .owner import Owner
from .targets import percentiles
from .tasks import Answer, Tasks, serve

KIND: Final = "bystander"
CHUNKS: Final = 5
PAUSE: Final = 0.01
"""Seconds between one call and the next of the same kind."""
CALL_TIMEOUT_SECONDS: Final = 10.0
"""Seconds in which the watch must have delivered what was done before."""
LOST: Final = "the watch did not deliver a change"


class Watched:
    """What a watch of the bystander's jobs delivered, message by message."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.created: dict[str, float] = {}
        self.revisions: defaultdict[str, list[int]] = defaultdict(list)
        self.came = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin after what is there already."""
        request = jobs_api.WatchJobsRequest(
            filter=JobFilter(kinds=[KIND]),
            cursor=await self._owner.cursor(),
            mode=jobs_api.WATCH_MODE_EVERY,
        )
        stream = self._owner.stream(f"{JOBS}/WatchJobs", request.SerializeToString(), slot=1)
        self._following = asyncio.create_task(self._follow(stream))

    async def _follow(self, stream: grpc.aio.UnaryStreamCall[bytes, bytes]) -> None:
        async for raw in stream:
            message = jobs_api.WatchJobsResponse.FromString(raw)
            if message.type == jobs_api.WATCH_MESSAGE_TYPE_CHANGED:
                self.created.setdefault(message.job.job_id, time.perf_counter())
                self.revisions[message.job.job_id].append(message.job.revision)
                self.came.set()

    async def caught_up(self, job_id: str, revision: int) -> None:
        """Wait until a job's revision has come; raises TimeoutError."""
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            while not self.revisions[job_id] or self.revisions[job_id][-1] < revision:
                self.came.clear()
                await self.came.wait()

    async def close(self) -> None:
        """End the watch; raises what ended it before."""
        if self._following is not None:
            if not self._following.done():
                self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)


class Bystander:
    """The owner's calls, each kind in a loop of its own."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._numbers = itertools.count(1)
        self._job = self._lease = ""
        self._going: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._watched = Watched(owner)
        self._took: defaultdict[str, list[float]] = defaultdict(list)
        self._errors: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self.tasks: Tasks = {"prepare": self._prepare, "begin": self._begin, "end": self._end}

    async def _prepare(self) -> Answer:
        """Have some jobs, and the lease of one."""
        for _ in range(20):
            self._job = await self._create()
        [self._lease] = await self._owner.claim(KIND, 1)
        return {}

    async def _begin(self) -> Answer:
        """Begin with the calls."""
        self._took.clear()
        self._errors.clear()
        self._began.clear()
        self._stopping.clear()
        self._watched = Watched(self._owner)
        await self._watched.open()
        calls = {
            "CreateJob": self._created,
            "GetJob": self._get,
            "Heartbeat": self._heartbeat,
            "ListJobs": self._list,
        }
        self._going = [asyncio.create_task(self._loop(name, call)) for name, call in calls.items()]
        return {}

    async def _end(self) -> Answer:
        """End the calls, check that the watch delivered all of it, and return what was seen."""
        self._stopping.set()
        await asyncio.gather(*self._going)
        await self._check_watch()
        return {
            "calls": {name: percentiles(took) | {"count": len(took)} for name, took in self._took.items()},
            "errors": dict(self._errors),
        }

    async def _check_watch(self) -> None:
        try:
            last = await self._create()
            await self._watched.caught_up(last, 1)
        except TimeoutError:
            self._errors[LOST] += 1
        await self._watched.close()
        for job_id, began in self._began.items():
            if job_id in self._watched.created:
                self._took["watch"].append(self._watched.created[job_id] - began)
            else:
                self._errors[LOST] += 1
        for seen in self._watched.revisions.values():
            self._errors[LOST] += sum(after != before + 1 for before, after in itertools.pairwise(seen))
        self._errors += Counter()  # leaves out what is 0

    async def _loop(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            began = time.perf_counter()
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                self._errors[f"{name}: {error.code().name}"] += 1
            except ValueError as error:
                self._errors[f"{name}: {error}"] += 1
            self._took[name].append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)

    async def _create(self) -> str:
        request = jobs_api.CreateJobRequest(
            kind=KIND, display_name=f"Invoices {next(self._numbers)}", item_count=CHUNKS, chunk_size=1
        )
        return await self._owner.create(request)

    async def _created(self) -> None:
        began = time.perf_counter()
        self._began[await self._create()] = began

    async def _get(self) -> None:
        request = jobs_api.GetJobRequest(job_id=self._job, view=job_pb2.JOB_VIEW_FULL)
        reply = await self._owner.call(f"{JOBS}/GetJob", request, jobs_api.GetJobResponse, slot=2)
        if reply.job.job_id != self._job:
            raise ValueError("another job")

    async def _heartbeat(self) -> None:
        progress = work_api.ProgressReport(message=f"page {next(self._numbers)}")
        reports = [work_api.LeaseReport(lease_token=self._lease, progress=progress)]
        request = work_api.HeartbeatRequest(reports=reports, lease_duration=LEASE)
        reply = await self._owner.call(f"{WORK}/Heartbeat", request, work_api.HeartbeatResponse, slot=3)
        if reply.results[0].status != work_api.LEASE_STATUS_OK:
            raise ValueError("the lease is lost")

    async def _list(self) -> None:
        request = jobs_api.ListJobsRequest(page_size=20)
        reply = await self._owner.call(f"{JOBS}/ListJobs", request, jobs_api.ListJobsResponse, slot=2)
        if len(reply.jobs) != 20 or any(job.kind != KIND for job in reply.jobs):  # noqa: PLR2004  as asked
            raise ValueError("not the owner's newest twenty jobs")


async def main(address: str, token: str) -> None:
    """Do what standard input asks for."""
    owner = Owner(address, token)
    await serve(Bystander(owner).tasks)
    await owner.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
