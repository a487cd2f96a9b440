"""JobService: read the request, submit or query, map, return."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from google.protobuf.message import Message
from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.reads import EventRow, JobRead, JobsRead, View
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import job_id_of, job_key
from jobledger_service.core.model.lifecycle import CancelOutcome
from jobledger_service.core.model.refusals.errors import InvalidField, JobNotFound, JobUnreadable, Refusal
from jobledger_service.core.read.queries import AttemptPage, ChunkPage, EventPage, JobPage, Queries
from jobledger_service.core.watch.watch import Messages, Watch
from jobledger_service.core.write import commands
from jobledger_service.core.write.committer import Committer
from jobledger_service.transport import trace_context as traces
from jobledger_service.transport.encoding.joined import field
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import convert
from . import job_requests as read
from . import list_requests as lists
from .created_jobs import encoded_outcomes
from .encoded_jobs import NOTHING_KEPT, EncodedJobs, Reading
from .event_requests import events_wanted, watch_options
from .owners import read_owner
from .services import JOB_SERVICE
from .shown_jobs import job_field, reply_with, show_pause, shown_job_field, status_field
from .unreadable import check_chunks, encode_each

METHODS: Final = (
    Method(JOB_SERVICE, "CreateJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "BatchCreateJobs", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "GetJob", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "BatchGetJobs", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListJobs", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListChunks", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListAttempts", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "ListEvents", Role.CALLER, Kind.READ),
    Method(JOB_SERVICE, "CancelJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "RetryJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "UpdateJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "DeleteJob", Role.CALLER, Kind.WRITE),
    Method(JOB_SERVICE, "WatchJob", Role.CALLER, Kind.WATCH, waits=True),
    Method(JOB_SERVICE, "WatchJobs", Role.CALLER, Kind.WATCH, waits=True),
)

_EVENTS: Final = api.ListEventsResponse.DESCRIPTOR.fields_by_name["events"]
_OUTCOMES = {outcome: api.CancelOutcome.Value(f"CANCEL_OUTCOME_{outcome}") for outcome in CancelOutcome}


class JobService(MsgStruct, frozen=True):
    """The calls of JobService. Methods return messages, or encoded messages."""

    committer: Committer
    queries: Queries
    watch: Watch
    new_id: read.NewId
    unreadable: UnreadableRows
    encoded: EncodedJobs | None = None
    """None where other processes write too."""

    def CreateJob(self, request: api.CreateJobRequest, caller: Caller) -> Awaitable[bytes]:
        return self._create(read.create_job(request, caller, self.new_id, traces.current.get()))

    async def _create(self, command: commands.CreateJob) -> bytes:
        job, created = await self.committer.submit(command)
        return reply_with(api.CreateJobResponse(created=created), job)

    def BatchCreateJobs(self, request: api.BatchCreateJobsRequest, caller: Caller) -> Awaitable[bytes]:
        return self._create_each(read.create_jobs(request, caller, self.new_id, traces.current.get()))

    async def _create_each(self, jobs: Sequence[commands.CreateJob | InvalidField]) -> bytes:
        valid = [job for job in jobs if isinstance(job, commands.CreateJob)]
        outcomes = iter(await self.committer.submit(commands.CreateJobs(valid)) if valid else ())
        return encoded_outcomes(job if isinstance(job, Refusal) else next(outcomes) for job in jobs)

    async def GetJob(self, request: api.GetJobRequest, caller: Caller) -> bytes:
        owner, view = read_owner(request, caller), lists.view(request.view)
        key = job_key(owner, request.job_id)
        if not request.uid and self.encoded is not None and (kept := self.encoded.job(key, view)) is not None:
            return kept
        job_id, uid = read.job_id(request), read.job_uid(request)
        reading = self._reading(owner, view, checked=False)
        show = partial(self._encoded_job, job_id, uid, reading, status_field if view is View.STATUS else job_field)
        return await self.queries.show_job(key, show, view, call_key=("GetJob", uid))

    def _reading(self, owner: str, view: View, *, with_outputs: bool = True, checked: bool = True) -> Reading:
        # whether chunks have outputs is unknown until they are read
        if self.encoded is None or (view is View.FULL and not with_outputs):
            return NOTHING_KEPT
        return self.encoded.reading(owner, view, with_outputs=with_outputs, checked=checked)

    def _encoded_job(
        self,
        job_id: str,
        uid: str,
        reading: Reading,
        encode: Callable[[JobRead], bytes],
        read: JobRead | None,
        position: int,
    ) -> bytes:
        if read is None:
            raise JobNotFound(job_id, uid)
        try:
            part = encode(read)
        except Exception as error:
            self.unreadable.add("GetJob", read.key, error)
            raise JobUnreadable(read.job_id) from error
        if uid and uid != job_pb2.Job.FromString(read.message).uid:
            raise JobNotFound(job_id, uid)
        reading.add([(read, part)], position)
        return part

    async def BatchGetJobs(self, request: api.BatchGetJobsRequest, caller: Caller) -> bytes:
        owner, job_ids = read_owner(request, caller), read.batch_ids(request)
        view = lists.view(request.view)
        keys = [job_key(owner, job_id) for job_id in job_ids]
        if self.encoded is not None and (kept := self.encoded.jobs(owner, keys, view)) is not None:
            return kept
        reading = self._reading(owner, view)
        show = partial(self._encoded_batch, keys, reading, _encoder(view))
        call_key = "BatchGetJobs", _content(request)
        return await self.queries.jobs(owner, job_ids, show, view, call_key=call_key, known=reading.known)

    def _encoded_batch(
        self, keys: Sequence[str], reading: Reading, encode: Callable[[JobRead], bytes], jobs_read: JobsRead
    ) -> bytes:
        jobs = {
            **jobs_read.known,
            **self._parts(reading, encode, jobs_read.jobs.values(), jobs_read.position, "BatchGetJobs"),
        }
        bad = [key for key in keys if key in jobs_read.unreadable or (key in jobs_read.jobs and key not in jobs)]
        unread, absent = {*jobs_read.unread}, {*keys} - jobs_read.jobs.keys() - jobs.keys()
        rest = api.BatchGetJobsResponse(
            unreadable_job_ids=map(job_id_of, bad),
            missing_job_ids=[job_id_of(key) for key in keys if key in absent.difference(bad, unread)],
            unread_job_ids=[job_id_of(key) for key in keys if key in unread],
        )
        return b"".join((*(jobs[key] for key in keys if key in jobs), rest.SerializeToString()))

    def _parts(
        self,
        reading: Reading,
        encode: Callable[[JobRead], bytes],
        jobs: Iterable[JobRead],
        position: int,
        method: str,
    ) -> dict[str, bytes]:
        """Return those of some jobs that can be shown, encoded, by key, and let the next reads know them."""

        def encoded(read: JobRead) -> tuple[JobRead, bytes]:
            return read, encode(read)

        shown, _ = encode_each(((job.job_id, job) for job in jobs), encoded, self.unreadable, method)
        reading.add(shown, position)
        return {read.key: part for read, part in shown}

    async def ListJobs(self, request: api.ListJobsRequest, caller: Caller) -> bytes:
        content = _content(request)
        listing = lists.known_listing(request, content, caller)
        owner = listing.filter.owner
        if self.encoded is not None and (kept := self.encoded.reply(owner, content, listing.view)) is not None:
            return kept
        reading = self._reading(owner, listing.view, with_outputs=False)
        show = partial(self._encoded_page, reading, _encoder(listing.view))
        call_key = "ListJobs", content
        reply = await self.queries.list_jobs(listing, request.page_token, show, call_key=call_key, known=reading.known)
        if self.encoded is not None:
            self.encoded.add_reply(owner, content, listing.view, reply, reading.begun)
        return reply

    def _encoded_page(self, reading: Reading, encode: Callable[[JobRead], bytes], page: JobPage) -> bytes:
        read = page.read
        jobs = self._parts(reading, encode, page.jobs, read.position, "ListJobs")
        shown = [part for key in read.keys if (part := read.known.get(key) or jobs.get(key))]
        unshown = [job.key for job in page.jobs if job.key not in jobs]
        rest = api.ListJobsResponse(
            next_page_token=page.next_page_token,
            total_size=page.total,
            total_is_lower_bound=page.total_is_lower_bound,
            cursor=page.cursor,
            unreadable_job_ids=map(job_id_of, (*read.unreadable, *unshown)),
        )
        return b"".join((*shown, rest.SerializeToString()))

    async def ListChunks(self, request: api.ListChunksRequest, caller: Caller) -> bytes:
        owner = read_owner(request, caller)
        limit = lists.checked_page_size(request.page_size, max_size=1_000)
        job_id, states = read.job_id(request), lists.chunk_states(request)
        show = partial(self._encoded_chunks, job_id)
        token, claimable, uid = request.page_token, request.claimable, read.job_uid(request)
        return await self.queries.list_chunks(owner, job_id, states, limit, token, show, claimable=claimable, uid=uid)

    def _encoded_chunks(self, job_id: str, page: ChunkPage) -> bytes:
        inputs, outputs = page.read.inputs.chunks, page.read.outputs.chunks

        def encode(chunk: Chunk) -> bytes:
            check_chunks([chunk], page.read.inputs, page.read.outputs)
            part = api.ListChunksResponse()
            message = part.chunks.add()
            convert.fill_chunk(message, chunk, inputs.get(chunk.index), outputs.get(chunk.index))
            if page.read.paused:
                show_pause(message)
            return part.SerializeToString()

        named = ((chunk.index, chunk) for chunk in page.read.chunks)
        chunks, bad = encode_each(named, encode, self.unreadable, f"ListChunks of {job_id}")
        rest = api.ListChunksResponse(
            next_page_token=page.next_page_token, unreadable_chunk_indexes=sorted([*page.read.unreadable, *bad])
        )
        return b"".join((*chunks, rest.SerializeToString()))

    async def ListAttempts(self, request: api.ListAttemptsRequest, caller: Caller) -> bytes:
        query = lists.attempts(request, caller)
        return await self.queries.list_attempts(query, request.page_token, _encoded_attempts)

    async def ListEvents(self, request: api.ListEventsRequest, caller: Caller) -> bytes:
        limit = lists.checked_page_size(request.page_size, max_size=500)
        query, keeps = events_wanted(request, caller)
        return await self.queries.list_events(
            caller.owner, query, keeps, limit, request.page_token, self._encoded_events
        )

    def _encoded_events(self, page: EventPage) -> bytes:
        named = ((row.position, row) for row in page.rows)
        events, bad = encode_each(named, _event_field, self.unreadable, "ListEvents")
        rest = api.ListEventsResponse(next_page_token=page.next_page_token, unreadable_positions=bad)
        return b"".join((*events, rest.SerializeToString()))

    def WatchJob(self, request: api.WatchJobRequest, caller: Caller) -> Messages:
        owner = read_owner(request, caller)
        job_id, uid = read.job_id(request), read.job_uid(request)
        return self.watch.job(owner, job_id, request.cursor, watch_options(request), uid)

    def WatchJobs(self, request: api.WatchJobsRequest, caller: Caller) -> Messages:
        return self.watch.jobs(lists.job_filter(request, caller), request.cursor, watch_options(request))

    async def CancelJob(self, request: api.CancelJobRequest, caller: Caller) -> bytes:
        outcome, job = await self.committer.submit(read.cancel_job(request, caller))
        return reply_with(api.CancelJobResponse(outcome=_OUTCOMES[outcome]), job)

    async def RetryJob(self, request: api.RetryJobRequest, caller: Caller) -> bytes:
        job = await self.committer.submit(read.retry_job(request, caller))
        return reply_with(api.RetryJobResponse(), job)

    async def UpdateJob(self, request: api.UpdateJobRequest, caller: Caller) -> bytes:
        job = await self.committer.submit(read.update_job(request, caller))
        return reply_with(api.UpdateJobResponse(), job)

    async def DeleteJob(self, request: api.DeleteJobRequest, caller: Caller) -> bytes:
        removal = await self.committer.submit(read.delete_job(request, caller))
        return reply_with(api.DeleteJobResponse(), removal, "artifact_job")


def _content(request: Message) -> bytes:
    """Return a request as equal ones are encoded."""
    return request.SerializeToString(deterministic=True)


def _encoder(view: View) -> Callable[[JobRead], bytes]:
    return status_field if view is View.STATUS else shown_job_field


def _encoded_attempts(page: AttemptPage) -> bytes:
    reply = api.ListAttemptsResponse(
        next_page_token=page.next_page_token, unreadable_chunk_indexes=page.read.unreadable
    )
    for attempt in page.read.attempts:
        convert.fill_attempt(reply.attempts.add(), attempt)
    return reply.SerializeToString()


def _event_field(row: EventRow) -> bytes:
    return field(_EVENTS, api.WatchJobResponse.FromString(row.message).event.SerializeToString())
