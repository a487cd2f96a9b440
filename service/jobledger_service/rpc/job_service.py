"""JobService: authorise, read the request, submit or query, map, return."""

from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass

from jobledger.v1 import bulk_pb2, event_pb2, export_pb2, stats_pb2
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
        if view is View.STATUS:
            job = convert.status(await self.queries.status(owner, job_id))
        else:
            job = convert.full_job(await self.queries.job(owner, job_id, full=view is View.FULL))
        return api.GetJobResponse(job=job).SerializeToString(), not job.slot_wait.place

    async def BatchGetJobs(self, request: api.BatchGetJobsRequest, caller: Caller) -> api.BatchGetJobsResponse:
        job_ids = read.batch_ids(request)
        view = views.view(request.view, absent=View.FULL)
        if view is View.STATUS:
            statuses = await self.queries.statuses(caller.owner, job_ids)
            found = {job_id: convert.status(one) for job_id, one in statuses.items()}
        else:
            read_ = await self.queries.jobs(caller.owner, job_ids, full=view is View.FULL)
            found = {one.job.spec.job_id: convert.full_job(one) for one in read_.jobs.values()}
        return api.BatchGetJobsResponse(
            jobs=[found[job_id] for job_id in dict.fromkeys(job_ids) if job_id in found],
            missing_job_ids=[job_id for job_id in dict.fromkeys(job_ids) if job_id not in found],
        )

    async def ListJobs(self, request: api.ListJobsRequest, caller: Caller) -> api.ListJobsResponse:
        page = await self.queries.list_jobs(lists.listing(request, caller), request.page_token)
        return api.ListJobsResponse(
            jobs=[*map(convert.full_job, page.jobs), *map(convert.status, page.statuses)],
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
