"""JobService: read the request, submit or query, map, return."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from jobledger.v1 import chunk_pb2, event_pb2, job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.ledger import commands
from jobledger_service.core.ledger.backlog import Backlog
from jobledger_service.core.ledger.commands import OnDeletion
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.queries import ChunkPage, EventPage, JobPage, Queries
from jobledger_service.core.ledger.read_ports import EventRow, JobRead, JobsRead, StatusesRead, View
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.ledger.watch import Watch
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.errors import JobUnreadable
from jobledger_service.core.model.job import job_id_of, job_key
from jobledger_service.core.model.lifecycle import CancelOutcome
from jobledger_service.transport import trace_context as traces
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import convert, views
from . import job_requests as read
from . import list_requests as lists
from .reply_cache import ReplyCache
from .services import JOB_SERVICE
from .unreadable import check_chunks, check_job, fill_each

Read = TypeVar("Read")

METHODS: Final = (
    Method(JOB_SERVICE, "CreateJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "GetJob", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "BatchGetJobs", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListJobs", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListChunks", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListJobEvents", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "CancelJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "RetryJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "UpdateJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "DeleteJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "WatchJob", Role.CALLER, Kind.WATCH, waits=True),
    Method(JOB_SERVICE, "WatchJobs", Role.CALLER, Kind.WATCH, waits=True),
)


@dataclass(frozen=True, slots=True)
class JobService:
    """The calls of JobService. Methods return messages, or encoded messages."""

    committer: Committer
    queries: Queries
    watch: Watch
    new_id: read.NewId
    on_deletion: OnDeletion
    unreadable: UnreadableRows
    replies: ReplyCache | None = None
    backlog: Backlog | None = None

    def read_CreateJob(self, request: api.CreateJobRequest, caller: Caller) -> commands.CreateJob:
        return read.create_job(request, caller, self.new_id, traces.current.get())

    async def CreateJob(self, command: commands.CreateJob, caller: Caller) -> api.CreateJobResponse:
        async with self.backlog.admit(caller.owner) if self.backlog else nullcontext():
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
        pending, lasts, reply = self.replies.begin(key[0]), False, b""
        try:
            reply, lasts = await self._reply(caller.owner, job_id, view)
            return reply
        finally:
            self.replies.finish(key, pending, reply if lasts else None)

    async def _reply(self, owner: str, job_id: str, view: View) -> tuple[bytes, bool]:
        """Return a reply, and whether it stays valid while its job does not change."""
        if view is View.STATUS:
            status = api.GetJobResponse()
            convert.fill_status(status.job, await self.queries.status(owner, job_id))
            return status.SerializeToString(), True
        return await self.queries.job(owner, job_id, self._encoded_job, full=view is View.FULL)

    def _encoded_job(self, read: JobRead) -> tuple[bytes, bool]:
        try:
            reply = api.GetJobResponse()
            convert.fill_full_job(reply.job, read)
            return reply.SerializeToString(), read.place is None
        except Exception as error:
            self.unreadable.add("GetJob", read.job.key, error)
            raise JobUnreadable(read.job.spec.job_id) from error

    async def BatchGetJobs(self, request: api.BatchGetJobsRequest, caller: Caller) -> bytes:
        job_ids = read.batch_ids(request)
        view = views.view(request.view, absent=View.FULL)
        if view is View.STATUS:
            return await self.queries.statuses(caller.owner, job_ids, partial(self._batch_of_statuses, job_ids))
        show = partial(self._batch_of_jobs, job_ids)
        return await self.queries.jobs(caller.owner, job_ids, show, full=view is View.FULL)

    def _batch_of_statuses(self, job_ids: Sequence[str], found: StatusesRead) -> bytes:
        by_id = {one.job_id: one for one in found.statuses}
        return self._batch(job_ids, by_id, found.unreadable, convert.fill_status).SerializeToString()

    def _batch_of_jobs(self, job_ids: Sequence[str], found: JobsRead) -> bytes:
        jobs = {one.job.spec.job_id: one for one in found.jobs.values()}
        unread = set(map(job_id_of, found.unread))
        looked_for = [job_id for job_id in job_ids if job_id not in unread]
        response = self._batch(looked_for, jobs, found.unreadable, _fill_shown)
        response.unread_job_ids.extend(job_id for job_id in job_ids if job_id in unread)
        return response.SerializeToString()

    def _batch(
        self,
        job_ids: Sequence[str],
        found: Mapping[str, Read],
        unreadable: Iterable[str],
        fill: Callable[[job_pb2.Job, Read], None],
    ) -> api.BatchGetJobsResponse:
        response, there = api.BatchGetJobsResponse(), [job_id for job_id in job_ids if job_id in found]
        bad = {job_id_of(key) for key in unreadable}
        named = ((job_id, found[job_id]) for job_id in there)
        bad.update(fill_each(response.jobs, named, fill, self.unreadable, "BatchGetJobs"))
        response.unreadable_job_ids.extend(job_id for job_id in job_ids if job_id in bad)
        response.missing_job_ids.extend(job_id for job_id in job_ids if job_id not in bad and job_id not in found)
        return response

    async def ListJobs(self, request: api.ListJobsRequest, caller: Caller) -> bytes:
        return await self.queries.list_jobs(lists.listing(request, caller), request.page_token, self._encoded_page)

    def _encoded_page(self, page: JobPage) -> bytes:
        response = api.ListJobsResponse(
            next_page_token=page.next_page_token,
            total_size=page.total,
            total_is_lower_bound=page.total_is_lower_bound,
            cursor=page.cursor.encode(),
        )
        jobs = ((job.job.spec.job_id, job) for job in page.jobs)
        bad = fill_each(response.jobs, jobs, _fill_shown, self.unreadable, "ListJobs")
        response.unreadable_job_ids.extend([*map(job_id_of, page.unreadable), *bad])
        for status in page.statuses:
            convert.fill_status(response.jobs.add(), status)
        return response.SerializeToString()

    async def ListChunks(self, request: api.ListChunksRequest, caller: Caller) -> bytes:
        limit = lists.checked_page_size(request.page_size, default=100, max_size=1_000)
        job_id, states = read.job_id(request), lists.chunk_states(request)
        show = partial(self._encoded_chunks, job_id)
        return await self.queries.list_chunks(caller.owner, job_id, states, limit, request.page_token, show)

    def _encoded_chunks(self, job_id: str, page: ChunkPage) -> bytes:
        inputs = page.read.inputs.chunks
        response = api.ListChunksResponse(next_page_token=page.next_page_token)

        def fill(message: chunk_pb2.Chunk, chunk: Chunk) -> None:
            check_chunks([chunk], page.read.inputs)
            convert.fill_chunk(message, chunk, inputs.get(chunk.index))

        chunks = ((chunk.index, chunk) for chunk in page.read.chunks)
        bad = fill_each(response.chunks, chunks, fill, self.unreadable, f"ListChunks of {job_id}")
        response.unreadable_chunk_indexes.extend(sorted([*page.read.unreadable, *bad]))
        return response.SerializeToString()

    async def ListJobEvents(self, request: api.ListJobEventsRequest, caller: Caller) -> bytes:
        limit = lists.checked_page_size(request.page_size, default=100, max_size=500)
        job_id = read.job_id(request)
        return await self.queries.list_events(caller.owner, job_id, limit, request.page_token, self._encoded_events)

    def _encoded_events(self, page: EventPage) -> bytes:
        response = api.ListJobEventsResponse(next_page_token=page.next_page_token)
        rows = ((row.position, row) for row in page.rows)
        bad = fill_each(response.events, rows, _fill_event, self.unreadable, "ListJobEvents")
        response.unreadable_positions.extend(bad)
        return response.SerializeToString()

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
        artifacts, outside = await self.committer.submit(read.delete_job(request, caller, self.on_deletion))
        return api.DeleteJobResponse(
            artifact_job=None if artifacts is None else convert.job(artifacts), artifacts_outside_roots=outside
        )


def _fill_shown(message: job_pb2.Job, read: JobRead) -> None:
    """Fill an empty message with a job that every client can show; raises ValueError for another."""
    check_job(read)
    convert.fill_full_job(message, read)


def _fill_event(message: event_pb2.JobEvent, row: EventRow) -> None:
    message.CopyFrom(api.WatchJobResponse.FromString(row.message).event)


_OUTCOMES = {outcome: api.CancelOutcome.Value(f"CANCEL_OUTCOME_{outcome}") for outcome in CancelOutcome}
