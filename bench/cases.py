"""The calls that are measured: what is prepared for each, and what one turn of it does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Protocol

from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import worker_service_pb2 as work_api

from . import jobs
from .jobs import JOBS, WORK
from .targets import Target

OK: Final = work_api.LEASE_STATUS_OK


class Case(Protocol):
    """One kind of call, the same for every server."""

    appended: int
    """How many bytes the floor appends to a file and syncs before it answers."""

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Make ready for that many calls in flight, and return real replies by path for the floor to repeat."""

    async def refill(self, ours: Target, seconds: float) -> None:
        """Make sure that there is enough to do for so long."""

    async def turn(self, target: Target, slot: int, took: list[float]) -> bool:
        """Make the calls of one turn, note how long each took, and return whether there was something to do."""

    def check(self) -> None:
        """Raise ValueError when the last reply is not what was meant to be measured."""


@dataclass(slots=True)
class Simple:
    """A turn of one call: each slot has a template, or all have the same."""

    path: str
    appended: int = 0
    last: bytes = b""
    templates: Sequence[bytes] = field(default_factory=list)

    async def record(self, ours: Target) -> dict[str, bytes]:
        """Return the reply to a first call."""
        self.last = await ours.unary(self.path)(jobs.stamped(self.templates[0]))
        return {self.path: self.last}

    async def refill(self, ours: Target, seconds: float) -> None:
        """Nothing runs out."""

    def check(self) -> None:
        """Require nothing more than that the call was answered."""

    async def turn(self, target: Target, slot: int, took: list[float]) -> bool:
        """Make one call."""
        request = jobs.stamped(self.templates[slot % len(self.templates)])
        call = target.unary(self.path, slot)
        began = perf_counter()
        self.last = await call(request)
        took.append(perf_counter() - began)
        return True


@dataclass(slots=True)
class GetJob(Simple):
    """A job of five chunks, in full, read again and again."""

    job_id: str = ""

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:  # noqa: ARG002  the form
        """Ask for the one job."""
        request = jobs_api.GetJobRequest(job_id=self.job_id, view=job_pb2.JOB_VIEW_FULL)
        self.templates = [request.SerializeToString()]
        return await self.record(ours)

    def check(self) -> None:
        """Require the job with its chunks."""
        if len(jobs_api.GetJobResponse.FromString(self.last).job.chunks) != 5:  # noqa: PLR2004  as seeded
            raise ValueError("GetJob did not answer with five chunks")


@dataclass(slots=True)
class ListJobs(Simple):
    """The newest twenty jobs."""

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:  # noqa: ARG002  the form
        """Ask without a filter."""
        self.templates = [jobs_api.ListJobsRequest(page_size=20).SerializeToString()]
        return await self.record(ours)

    def check(self) -> None:
        """Require a full page."""
        if len(jobs_api.ListJobsResponse.FromString(self.last).jobs) != 20:  # noqa: PLR2004  as asked
            raise ValueError("ListJobs did not answer with twenty jobs")


@dataclass(slots=True)
class ListEach(Simple):
    """Twenty jobs: each slot asks for another page of the list, so that few calls in flight are equal."""

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Walk through the list once; the first page, which counts the jobs too, is left out."""
        self.templates, token = [], ""
        while len(self.templates) < in_flight and (token or not self.templates):
            request = jobs_api.ListJobsRequest(page_size=20, page_token=token).SerializeToString()
            token = jobs_api.ListJobsResponse.FromString(await ours.unary(self.path)(request)).next_page_token
            self.templates = [*self.templates, request]
        self.templates = self.templates[1:]
        return await self.record(ours)


@dataclass(slots=True)
class BatchGetJobs(Simple):
    """A hundred jobs of five chunks, in full: the same in all slots, or others in `each`."""

    each: bool = False
    jobs: int = 100

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Ask for the newest jobs; with `each` beginning at another one in each slot."""
        list_jobs = ours.unary(f"{JOBS}/ListJobs")
        page = jobs_api.ListJobsResponse.FromString(
            await list_jobs(jobs_api.ListJobsRequest(page_size=500).SerializeToString())
        )
        job_ids = [job.job_id for job in page.jobs]
        starts = [slot % (len(job_ids) - self.jobs) if self.each else 0 for slot in range(in_flight)]
        part = (job_ids[start : start + self.jobs] for start in starts)
        requests = (jobs_api.BatchGetJobsRequest(job_ids=ids, view=job_pb2.JOB_VIEW_FULL) for ids in part)
        self.templates = [request.SerializeToString() for request in requests]
        return await self.record(ours)

    def check(self) -> None:
        """Require all jobs."""
        if len(jobs_api.BatchGetJobsResponse.FromString(self.last).jobs) != self.jobs:
            raise ValueError(f"BatchGetJobs did not answer with {self.jobs} jobs")


@dataclass(slots=True)
class CreateJob(Simple):
    """A job of chunks of 500 items."""

    chunks: int = 5

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:  # noqa: ARG002  the form
        """Use a kind that nobody claims."""
        self.templates = [jobs.new_job("bench.create", self.chunks)]
        return await self.record(ours)

    def check(self) -> None:
        """Require a new job."""
        if not jobs_api.CreateJobResponse.FromString(self.last).created:
            raise ValueError("CreateJob did not create a job")


@dataclass(slots=True)
class BatchCreateJobs(Simple):
    """A hundred such jobs in one call."""

    jobs: int = 100

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:  # noqa: ARG002  the form
        """Use a kind that nobody claims."""
        self.templates = [jobs.new_jobs("bench.batch", 5, self.jobs)]
        return await self.record(ours)

    def check(self) -> None:
        """Require that all jobs are new."""
        results = jobs_api.BatchCreateJobsResponse.FromString(self.last).results
        if sum(result.created for result in results) != self.jobs:
            raise ValueError(f"BatchCreateJobs did not create {self.jobs} jobs")


@dataclass(slots=True)
class Heartbeat(Simple):
    """A worker in each slot reports progress on all chunks of a job of its own."""

    leases: int = 1

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Claim a job for each slot that has none yet."""
        kind = f"bench.heartbeat-{self.leases}-{self.appended}"
        missing = in_flight - len(self.templates)
        if missing > 0:
            await jobs.create(ours, kind, missing, self.leases)
            held = await jobs.claim_all(ours, kind)
            groups = [held[n : n + self.leases] for n in range(0, len(held), self.leases)]
            self.templates = [*self.templates, *map(jobs.heartbeat, groups)]
        return await self.record(ours)

    def check(self) -> None:
        """Require that the leases are held."""
        results = work_api.HeartbeatResponse.FromString(self.last).results
        if len(results) != self.leases or any(result.status != OK for result in results):
            raise ValueError(f"Heartbeat was not answered with {self.leases} times OK")


@dataclass(slots=True)
class ClaimComplete:
    """A worker in each slot claims some chunks and completes them: a turn of two calls."""

    chunks: int
    job_chunks: int = 0
    """The chunks of each job; without, as many as one call claims, and at least five."""
    appended: int = 0
    last: bytes = b""
    ours: Target | None = None
    unclaimed: int = 0
    """How many chunks wait in our server."""
    claimed: int = 0
    """How many were claimed since the last refill."""

    @property
    def kind(self) -> str:
        """The kind of its jobs."""
        return f"bench.claim-{self.chunks}-{self.job_chunks}"

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Record both calls."""
        self.ours = ours
        await self.top_up(ours, self.chunks * in_flight * 4)
        claimed = await ours.unary(f"{WORK}/ClaimChunks")(jobs.claim(self.kind, self.chunks))
        self.unclaimed -= self.chunks
        self.last = await ours.unary(f"{WORK}/CompleteChunks")(jobs.completion(jobs.tokens(claimed)))
        return {f"{WORK}/ClaimChunks": claimed, f"{WORK}/CompleteChunks": self.last}

    async def refill(self, ours: Target, seconds: float) -> None:
        """Have twice as many chunks wait as were claimed in the last measure, and at least 15,000 for each second."""
        await self.top_up(ours, max(2 * self.claimed, int(15_000 * seconds)))
        self.claimed = 0

    async def top_up(self, ours: Target, count: int) -> None:
        """Have at least so many chunks wait."""
        each = self.job_chunks or max(self.chunks, 5)
        missing = count - self.unclaimed
        if missing > 0:
            made = -(-missing // each)
            await jobs.create(ours, self.kind, made, each)
            self.unclaimed += made * each

    async def turn(self, target: Target, slot: int, took: list[float]) -> bool:
        """Claim, then complete."""
        call = target.unary(f"{WORK}/ClaimChunks", slot)
        began = perf_counter()
        claimed = await call(jobs.claim(self.kind, self.chunks))
        took.append(perf_counter() - began)
        leases = jobs.tokens(claimed)
        if not leases:
            return False
        if target is self.ours:
            self.unclaimed -= len(leases)
            self.claimed += len(leases)
        call, request = target.unary(f"{WORK}/CompleteChunks", slot), jobs.completion(leases)
        began = perf_counter()
        self.last = await call(request)
        took.append(perf_counter() - began)
        return True

    def check(self) -> None:
        """Require that the chunks were completed."""
        results = work_api.CompleteChunksResponse.FromString(self.last).results
        if len(results) != self.chunks or any(result.status != OK for result in results):
            raise ValueError(f"CompleteChunks was not answered with {self.chunks} times OK")


@dataclass(slots=True)
class CompleteClaim(ClaimComplete):
    """A worker in each slot completes some chunks and claims the next ones: a turn of one call, as the SDK makes it."""

    held: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    """The leases of each slot of each server."""

    @property
    def kind(self) -> str:
        """The kind of its jobs."""
        return f"bench.next-{self.chunks}-{self.job_chunks}"

    def request(self, leases: Sequence[str]) -> bytes:
        """Return a CompleteChunks with a claim."""
        claim = work_api.ClaimChunksRequest.FromString(jobs.claim(self.kind, self.chunks))
        return jobs.completion(leases) + work_api.CompleteChunksRequest(claim=claim).SerializeToString()

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Record both calls; slots of an earlier load forget their leases."""
        self.ours, self.held = ours, {}
        await self.top_up(ours, self.chunks * in_flight * 4)
        claimed = await ours.unary(f"{WORK}/ClaimChunks")(jobs.claim(self.kind, self.chunks))
        self.last = await ours.unary(f"{WORK}/CompleteChunks")(self.request(jobs.tokens(claimed)))
        self.unclaimed -= 2 * self.chunks
        return {f"{WORK}/ClaimChunks": claimed, f"{WORK}/CompleteChunks": self.last}

    async def turn(self, target: Target, slot: int, took: list[float]) -> bool:
        """Complete what is held and claim the next; the first turn of a slot claims alone."""
        leases = self.held.pop((id(target), slot), [])
        if not leases:
            leases = jobs.tokens(await target.unary(f"{WORK}/ClaimChunks", slot)(jobs.claim(self.kind, self.chunks)))
            self.count(target, len(leases))
        if not leases:
            return False
        call, request = target.unary(f"{WORK}/CompleteChunks", slot), self.request(leases)
        began = perf_counter()
        self.last = await call(request)
        took.append(perf_counter() - began)
        claimed = work_api.CompleteChunksResponse.FromString(self.last).claimed
        self.held[id(target), slot] = [chunk.lease.token for chunk in claimed]
        self.count(target, len(claimed))
        return True

    def count(self, target: Target, claimed: int) -> None:
        """Note that so many chunks wait no longer."""
        if target is self.ours:
            self.unclaimed -= claimed
            self.claimed += claimed


def cases(job_id: str) -> dict[str, Case]:
    """Return all cases by name, in the order in which they are measured: reads before the ledger grows."""
    return {
        "GetJob": GetJob(f"{JOBS}/GetJob", job_id=job_id),
        "ListJobs": ListJobs(f"{JOBS}/ListJobs"),
        "ListJobs-each": ListEach(f"{JOBS}/ListJobs"),
        "BatchGetJobs-100": BatchGetJobs(f"{JOBS}/BatchGetJobs"),
        "BatchGetJobs-100-each": BatchGetJobs(f"{JOBS}/BatchGetJobs", each=True),
        "Heartbeat-1": Heartbeat(f"{WORK}/Heartbeat", leases=1),
        "Heartbeat-1-synced": Heartbeat(f"{WORK}/Heartbeat", leases=1, appended=500),
        "Heartbeat-50": Heartbeat(f"{WORK}/Heartbeat", leases=50),
        "ClaimComplete-1": ClaimComplete(1),
        "ClaimComplete-50": ClaimComplete(50),
        "CompleteClaim-1": CompleteClaim(1),
        "CompleteClaim-50": CompleteClaim(50),
        "CompleteClaim-100": CompleteClaim(100),
        "CompleteClaim-50-single": CompleteClaim(50, job_chunks=1),
        "CreateJob": CreateJob(f"{JOBS}/CreateJob"),
        "CreateJob-200": CreateJob(f"{JOBS}/CreateJob", chunks=200),
        "CreateJob-10000": CreateJob(f"{JOBS}/CreateJob", chunks=10_000),
        "BatchCreateJobs-100": BatchCreateJobs(f"{JOBS}/BatchCreateJobs"),
    }
