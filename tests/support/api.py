"""Both services over one channel, with the few calls that most tests begin with."""

from datetime import timedelta
from uuid import uuid4

import grpc
from jobledger.v1.job_pb2 import Job, JobState, JobView
from jobledger.v1.job_service_pb2 import (
    BatchGetJobsRequest,
    BatchGetJobsResponse,
    CancelJobRequest,
    CancelJobResponse,
    CreateJobRequest,
    DeleteJobRequest,
    DeleteJobResponse,
    EventOrder,
    GetJobRequest,
    ListChunksRequest,
    ListChunksResponse,
    ListEventsRequest,
    ListEventsResponse,
    ListJobsRequest,
    ListJobsResponse,
    RetryJobRequest,
    UpdateJobRequest,
    WatchJobRequest,
    WatchJobResponse,
    WatchJobsRequest,
    WatchJobsResponse,
)
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.stats_pb2 import GetJobStatsRequest, GetJobStatsResponse
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimChunksRequest,
    ClaimedChunk,
    CompleteChunksRequest,
    FailChunksRequest,
    HeartbeatRequest,
    HeartbeatResult,
    LeaseReport,
    LeaseResult,
    ProgressReport,
    ReleaseChunksRequest,
)
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub

from tests.support.watching import Watch


def fresh_kind() -> str:
    """Return a kind that no other test uses."""
    return f"test.k{uuid4().hex}"


class Api:
    """JobService and WorkerService of one server, as a caller and as a worker."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.jobs = JobServiceStub(channel)
        self.work = WorkerServiceStub(channel)

    async def create(self, kind: str, **fields: object) -> Job:
        """Create a job."""
        return (await self.jobs.CreateJob(CreateJobRequest(kind=kind, **fields))).job

    async def get(self, job_id: str, **fields: object) -> Job:
        """Return a job, with its input and chunks unless another view is asked for."""
        fields.setdefault("view", JobView.JOB_VIEW_FULL)
        return (await self.jobs.GetJob(GetJobRequest(job_id=job_id, **fields))).job

    async def batch_get(self, **fields: object) -> BatchGetJobsResponse:
        """Get several jobs."""
        fields.setdefault("view", JobView.JOB_VIEW_FULL)
        return await self.jobs.BatchGetJobs(BatchGetJobsRequest(**fields))

    async def list_jobs(self, **fields: object) -> ListJobsResponse:
        """Return a page of jobs."""
        return await self.jobs.ListJobs(ListJobsRequest(**fields))

    async def list_chunks(self, job_id: str, **fields: object) -> ListChunksResponse:
        """Return a page of the chunks of a job."""
        return await self.jobs.ListChunks(ListChunksRequest(job_id=job_id, **fields))

    async def list_events(self, job_id: str, **fields: object) -> ListEventsResponse:
        """Return a page of the events of a job, the oldest first unless another order is asked for."""
        fields.setdefault("order", EventOrder.EVENT_ORDER_POSITION_ASC)
        return await self.jobs.ListEvents(ListEventsRequest(job_id=job_id, **fields))

    async def stats(self, **fields: object) -> GetJobStatsResponse:
        """Return statistics of jobs."""
        return await self.jobs.GetJobStats(GetJobStatsRequest(**fields))

    async def update(self, job_id: str, **fields: object) -> Job:
        """Change fields of a job."""
        return (await self.jobs.UpdateJob(UpdateJobRequest(job_id=job_id, **fields))).job

    async def retry(self, job_id: str, **fields: object) -> Job:
        """Retry a job, or chunks of it."""
        return (await self.jobs.RetryJob(RetryJobRequest(job_id=job_id, **fields))).job

    async def delete(self, job_id: str, **fields: object) -> DeleteJobResponse:
        """Delete a job."""
        return await self.jobs.DeleteJob(DeleteJobRequest(job_id=job_id, **fields))

    async def cancel(self, job_id: str, **fields: object) -> CancelJobResponse:
        """Cancel a job."""
        return await self.jobs.CancelJob(CancelJobRequest(job_id=job_id, **fields))

    async def claim(
        self, kind: str, max_chunks: int = 1, worker: str = "worker-1", **fields: object
    ) -> list[ClaimedChunk]:
        """Claim chunks of one kind."""
        request = ClaimChunksRequest(kinds=[kind], max_chunks=max_chunks, worker=worker, **fields)
        return list((await self.work.ClaimChunks(request)).chunks)

    async def report(
        self, claimed: ClaimedChunk, *, lease_duration: timedelta | None = None, **progress: object
    ) -> HeartbeatResult:
        """Send a heartbeat with progress for one chunk."""
        report = LeaseReport(lease_token=claimed.lease.token, progress=ProgressReport(**progress))
        request = HeartbeatRequest(reports=[report], lease_duration=lease_duration)
        return (await self.work.Heartbeat(request)).results[0]

    async def complete(self, *claimed: ClaimedChunk, **fields: object) -> list[LeaseResult]:
        """Complete chunks, each with the same fields."""
        completions = [ChunkCompletion(lease_token=chunk.lease.token, **fields) for chunk in claimed]
        return list((await self.work.CompleteChunks(CompleteChunksRequest(completions=completions))).results)

    async def fail(
        self, *claimed: ClaimedChunk, code: str = "BOOM", message: str = "", **fields: object
    ) -> list[LeaseResult]:
        """Fail an attempt at each chunk, each with the same fields."""
        error = {"code": code, "message": message}
        failures = [ChunkFailure(lease_token=chunk.lease.token, error=error, **fields) for chunk in claimed]
        return list((await self.work.FailChunks(FailChunksRequest(failures=failures))).results)

    async def release(self, *claimed: ClaimedChunk, **fields: object) -> list[LeaseResult]:
        """Give chunks back, each with the same fields."""
        releases = [ChunkRelease(lease_token=chunk.lease.token, **fields) for chunk in claimed]
        return list((await self.work.ReleaseChunks(ReleaseChunksRequest(releases=releases))).results)

    async def job_in(self, state: JobState, kind: str, **fields: object) -> Job:
        """Create a job and bring its first chunk, or all of them, to where the job is in the state."""
        job = await self.create(kind, **fields)
        if state == JobState.JOB_STATE_CANCELLED:
            await self.cancel(job.job_id)
        elif state != JobState.JOB_STATE_QUEUED:
            claimed = await self.claim(kind, 1 if state == JobState.JOB_STATE_RUNNING else 1_000)
            if state == JobState.JOB_STATE_COMPLETED:
                await self.complete(*claimed)
            elif state == JobState.JOB_STATE_FAILED:
                await self.fail(*claimed, not_retryable=True)
            elif state == JobState.JOB_STATE_CANCELLING:
                await self.cancel(job.job_id)
        job = await self.get(job.job_id)
        assert job.state == state
        return job

    def watch_job(self, job_id: str, **fields: object) -> Watch[WatchJobResponse]:
        """Watch one job."""
        return Watch(self.jobs.WatchJob(WatchJobRequest(job_id=job_id, **fields)))

    def watch_jobs(self, *kinds: str, **fields: object) -> Watch[WatchJobsResponse]:
        """Watch the jobs of these kinds, or with another filter."""
        fields.setdefault("filter", {"kinds": kinds})
        return Watch(self.jobs.WatchJobs(WatchJobsRequest(**fields)))
