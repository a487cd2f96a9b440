"""JobService: authorise, read the request, submit or query, map, return."""

from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass

from jobledger.v1 import event_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.domain.job import job_key
from jobledger_service.domain.lifecycle import CancelOutcome
from jobledger_service.ledger.backlog import Backlog
from jobledger_service.ledger.committer import Committer
from jobledger_service.ledger.ports import JobRead
from jobledger_service.ledger.queries import Queries
from jobledger_service.ledger.watch import Watch

from . import convert, traces, views
from . import job_requests as read
from . import list_requests as lists
from .identity import Caller
from .replies import ReplyCache


@dataclass(frozen=True, slots=True)
class JobService:
    """The calls of those who want work done. Methods return messages, or messages already encoded."""

    committer: Committer
    queries: Queries
    watch: Watch
    new_id: read.NewId
    replies: ReplyCache | None = None
    backlog: Backlog | None = None

    async def CreateJob(self, request: api.CreateJobRequest, caller: Caller) -> api.CreateJobResponse:
        command = read.create_job(request, caller, self.new_id, traces.current.get())
        async with self.backlog.room(caller.owner) if self.backlog else nullcontext():
            job, created = await self.committer.submit(command)
        return api.CreateJobResponse(job=convert.job(job), created=created)

    async def GetJob(self, request: api.GetJobRequest, caller: Caller) -> bytes:
        job_id = read.job_id(request)
        full = views.is_full(request.view, absent=True)
        if self.replies is None:
            return _reply(await self.queries.job(caller.owner, job_id, full=full), full=full)
        key = (job_key(caller.owner, job_id), full)
        kept = self.replies.get(key)
        if kept is not None:
            return kept
        filling, reply = self.replies.begin(key[0]), None
        try:
            reply = _reply(await self.queries.job(caller.owner, job_id, full=full), full=full)
            return reply
        finally:
            self.replies.finish(key, filling, reply)

    async def BatchGetJobs(self, request: api.BatchGetJobsRequest, caller: Caller) -> api.BatchGetJobsResponse:
        job_ids = read.batch_ids(request)
        full = views.is_full(request.view, absent=True)
        found = (await self.queries.jobs(caller.owner, job_ids, full=full)).jobs
        keys = {job_id: job_key(caller.owner, job_id) for job_id in job_ids}
        return api.BatchGetJobsResponse(
            jobs=[convert.full_job(found[key]) for key in keys.values() if key in found],
            missing_job_ids=[job_id for job_id, key in keys.items() if key not in found],
        )

    async def ListJobs(self, request: api.ListJobsRequest, caller: Caller) -> api.ListJobsResponse:
        page = await self.queries.list_jobs(lists.listing(request, caller), request.page_token)
        return api.ListJobsResponse(
            jobs=[convert.full_job(one) for one in page.jobs],
            next_page_token=page.next_page_token,
            total_size=page.total,
            total_is_lower_bound=page.total_is_lower_bound,
            cursor=page.cursor.encode(),
        )

    async def ListChunks(self, request: api.ListChunksRequest, caller: Caller) -> api.ListChunksResponse:
        limit = lists.checked_page_size(request.page_size, default=100, most=1_000)
        page = await self.queries.list_chunks(
            caller.owner, read.job_id(request), lists.chunk_states(request), limit, request.page_token
        )
        inputs = page.read.inputs.chunks
        return api.ListChunksResponse(
            chunks=[convert.chunk(chunk, inputs.get(chunk.index)) for chunk in page.read.chunks],
            next_page_token=page.next_page_token,
        )

    async def ListJobEvents(self, request: api.ListJobEventsRequest, caller: Caller) -> api.ListJobEventsResponse:
        limit = lists.checked_page_size(request.page_size, default=100, most=500)
        page = await self.queries.list_events(caller.owner, read.job_id(request), limit, request.page_token)
        events: list[event_pb2.JobEvent] = [api.WatchJobResponse.FromString(row.message).event for row in page.rows]
        return api.ListJobEventsResponse(events=events, next_page_token=page.next_page_token)

    def WatchJob(self, request: api.WatchJobRequest, caller: Caller) -> AsyncGenerator[bytes]:
        mode = views.watch_mode(request.mode)
        return self.watch.job(caller.owner, read.job_id(request), request.cursor, mode)

    def WatchJobs(self, request: api.WatchJobsRequest, caller: Caller) -> AsyncGenerator[bytes]:
        return self.watch.jobs(lists.job_filter(request, caller), request.cursor, views.watch_mode(request.mode))

    async def CancelJob(self, request: api.CancelJobRequest, caller: Caller) -> api.CancelJobResponse:
        outcome, job = await self.committer.submit(read.cancel_job(request, caller))
        return api.CancelJobResponse(outcome=_OUTCOMES[outcome], job=convert.job(job))

    async def RetryJob(self, request: api.RetryJobRequest, caller: Caller) -> api.RetryJobResponse:
        job = await self.committer.submit(read.retry_job(request, caller))
        return api.RetryJobResponse(job=convert.job(job))

    async def UpdateJob(self, request: api.UpdateJobRequest, caller: Caller) -> api.UpdateJobResponse:
        job = await self.committer.submit(read.update_job(request, caller))
        return api.UpdateJobResponse(job=convert.job(job))

    async def DeleteJob(self, request: api.DeleteJobRequest, caller: Caller) -> api.DeleteJobResponse:
        await self.committer.submit(read.delete_job(request, caller))
        return api.DeleteJobResponse()


_OUTCOMES = {outcome: api.CancelOutcome.Value(f"CANCEL_OUTCOME_{outcome}") for outcome in CancelOutcome}


def _reply(found: JobRead, *, full: bool) -> bytes:
    job = convert.full_job(found) if full else convert.job(found.job)
    return api.GetJobResponse(job=job).SerializeToString()
