"""JobService: authorise, read the request, submit or query, map, return."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

from jobledger.v1 import bulk_pb2, event_pb2, export_pb2, job_pb2, stats_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.domain.job import job_key
from jobledger_service.domain.lifecycle import CancelOutcome
from jobledger_service.ledger.backlog import Backlog
from jobledger_service.ledger.committer import Committer
from jobledger_service.ledger.export import Exports
from jobledger_service.ledger.ports import Clock
from jobledger_service.ledger.queries import Queries
from jobledger_service.ledger.read_ports import View
from jobledger_service.ledger.watch import Watch

from . import convert, export_requests, stats_replies, stats_requests, traces, views
from . import job_requests as read
from . import list_requests as lists
from .bulk_calls import BulkCalls
from .identity import Caller
from .replies import ReplyCache

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class JobService:
    """The calls of those who want work done. Methods return messages, or messages already encoded."""

    committer: Committer
    queries: Queries
    watch: Watch
    exports: Exports
    new_id: read.NewId
    clock: Clock
    bulk: BulkCalls
    replies: ReplyCache | None = None
    backlog: Backlog | None = None

    async def CreateJob(self, request: api.CreateJobRequest, caller: Caller) -> api.CreateJobResponse:
        command = read.create_job(request, caller, self.new_id, traces.current.get())
        async with self.backlog.room(caller.owner) if self.backlog else nullcontext():
            job, created = await self.committer.submit(command)
        return api.CreateJobResponse(job=convert.job(job), created=created)

    async def GetJob(self, request: api.GetJobRequest, caller: Caller) -> bytes:
        job_id = read.job_id(request)
        view = views.view(request.view, absent=View.FULL)
        if self.replies is None:
            reply, _ = await self._reply(caller.owner, job_id, view)
            return reply
        key = (job_key(caller.owner, job_id), view)
        kept = self.replies.get(key)
        if kept is not None:
            return kept
        filling, lasts, reply = self.replies.begin(key[0]), False, b""
        try:
            reply, lasts = await self._reply(caller.owner, job_id, view)
            return reply
        finally:
            self.replies.finish(key, filling, reply if lasts else None)

    async def _reply(self, owner: str, job_id: str, view: View) -> tuple[bytes, bool]:
        """Return a reply, and whether it stays true while its job does not change."""
        reply = api.GetJobResponse()
        if view is View.STATUS:
            convert.fill_status(reply.job, await self.queries.status(owner, job_id))
        else:
            convert.fill_full_job(reply.job, await self.queries.job(owner, job_id, full=view is View.FULL))
        return reply.SerializeToString(), not reply.job.slot_wait.place

    async def BatchGetJobs(self, request: api.BatchGetJobsRequest, caller: Caller) -> api.BatchGetJobsResponse:
        job_ids = read.batch_ids(request)
        view = views.view(request.view, absent=View.FULL)
        if view is View.STATUS:
            return _batch(job_ids, await self.queries.statuses(caller.owner, job_ids), convert.fill_status)
        found = await self.queries.jobs(caller.owner, job_ids, full=view is View.FULL)
        by_id = {one.job.spec.job_id: one for one in found.jobs.values()}
        return _batch(job_ids, by_id, convert.fill_full_job)

    async def ListJobs(self, request: api.ListJobsRequest, caller: Caller) -> api.ListJobsResponse:
        page = await self.queries.list_jobs(lists.listing(request, caller), request.page_token)
        response = api.ListJobsResponse(
            next_page_token=page.next_page_token,
            total_size=page.total,
            total_is_lower_bound=page.total_is_lower_bound,
            cursor=page.cursor.encode(),
        )
        for job in page.jobs:
            convert.fill_full_job(response.jobs.add(), job)
        for status in page.statuses:
            convert.fill_status(response.jobs.add(), status)
        return response

    async def ListChunks(self, request: api.ListChunksRequest, caller: Caller) -> api.ListChunksResponse:
        limit = lists.checked_page_size(request.page_size, default=100, most=1_000)
        page = await self.queries.list_chunks(
            caller.owner, read.job_id(request), lists.chunk_states(request), limit, request.page_token
        )
        inputs = page.read.inputs.chunks
        response = api.ListChunksResponse(next_page_token=page.next_page_token)
        for chunk in page.read.chunks:
            convert.fill_chunk(response.chunks.add(), chunk, inputs.get(chunk.index))
        return response

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
        artifacts, outside = await self.committer.submit(read.delete_job(request, caller, self.bulk.removal))
        return api.DeleteJobResponse(
            artifact_job=None if artifacts is None else convert.job(artifacts), artifacts_outside_roots=outside
        )

    async def GetJobStats(self, request: stats_pb2.GetJobStatsRequest, caller: Caller) -> stats_pb2.GetJobStatsResponse:
        now = self.clock()
        query = stats_requests.query(request, caller, now)
        return stats_replies.reply(query, await self.queries.figures(query), now)

    def ExportJobs(self, request: export_pb2.ExportJobsRequest, caller: Caller) -> AsyncGenerator[bytes]:
        return export_requests.pieces(self.exports, request, caller)

    async def CancelJobs(self, request: bulk_pb2.CancelJobsRequest, caller: Caller) -> bulk_pb2.CancelJobsResponse:
        return await self.bulk.run(request, caller, bulk_pb2.CancelJobsResponse())

    async def RetryJobs(self, request: bulk_pb2.RetryJobsRequest, caller: Caller) -> bulk_pb2.RetryJobsResponse:
        return await self.bulk.run(request, caller, bulk_pb2.RetryJobsResponse())

    async def DeleteJobs(self, request: bulk_pb2.DeleteJobsRequest, caller: Caller) -> bulk_pb2.DeleteJobsResponse:
        return await self.bulk.run(request, caller, bulk_pb2.DeleteJobsResponse())

    async def UpdateJobPriorities(
        self, request: bulk_pb2.UpdateJobPrioritiesRequest, caller: Caller
    ) -> bulk_pb2.UpdateJobPrioritiesResponse:
        return await self.bulk.run(request, caller, bulk_pb2.UpdateJobPrioritiesResponse())


_OUTCOMES = {outcome: api.CancelOutcome.Value(f"CANCEL_OUTCOME_{outcome}") for outcome in CancelOutcome}


def _batch(
    job_ids: Iterable[str], found: Mapping[str, Read], fill: Callable[[job_pb2.Job, Read], None]
) -> api.BatchGetJobsResponse:
    response = api.BatchGetJobsResponse()
    for job_id in job_ids:
        if job_id in found:
            fill(response.jobs.add(), found[job_id])
        else:
            response.missing_job_ids.append(job_id)
    return response
