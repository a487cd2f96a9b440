"""WorkerService: read the request, submit, map, return."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from google.protobuf.message import Message
from jobledger.v1 import worker_service_pb2 as api
from jobledger.v1.entry_error_pb2 import EntryError
from msgspec import Struct as MsgStruct

from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.leases import LeaseStop, StopCause
from jobledger_service.core.model.refusals.errors import JobUnreadable, Refusal
from jobledger_service.core.model.work import NOTHING_NEW, Failure, Release
from jobledger_service.core.watch.watch import Messages, Watch
from jobledger_service.core.write.active_workers import ActiveWorkers
from jobledger_service.core.write.claims import ClaimQueue
from jobledger_service.core.write.commands import (
    ClaimedChunk,
    FailChunks,
    LeaseAnswer,
    LeaseStatus,
    ReportAndClaim,
)
from jobledger_service.core.write.committer import Committer
from jobledger_service.transport.encoding.structs import check_encodable
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import convert
from . import worker_requests as read
from .errors import FULL_BYTES, entry_error
from .services import WORKER_SERVICE

if TYPE_CHECKING:
    from jobledger_service.core.write.commands import EndReports

UNREADABLE: Final = "INPUT_UNREADABLE"
"""The error code of a chunk that no worker can be shown."""

NO_ROOM: Final = Release("the claim response had no room for it", unheard=True)

METHODS: Final = (
    Method(WORKER_SERVICE, "ClaimChunks", Role.WORKER, Kind.WRITE, waits=True),
    Method(WORKER_SERVICE, "ClaimChunk", Role.WORKER, Kind.WRITE),
    Method(WORKER_SERVICE, "Heartbeat", Role.WORKER, Kind.WRITE, reserved=True),
    Method(WORKER_SERVICE, "CompleteChunks", Role.WORKER, Kind.WRITE, reserved=True),
    Method(WORKER_SERVICE, "FailChunks", Role.WORKER, Kind.WRITE, reserved=True),
    Method(WORKER_SERVICE, "ReleaseChunks", Role.WORKER, Kind.WRITE, reserved=True),
    Method(WORKER_SERVICE, "WatchLeases", Role.WORKER, Kind.WATCH, waits=True),
)

EndsResponse: TypeAlias = api.CompleteChunksResponse | api.FailChunksResponse | api.ReleaseChunksResponse

_STATUSES = {status: api.LeaseStatus.Value(f"LEASE_STATUS_{status}") for status in LeaseStatus}

_CAUSES = {cause: api.StopCause.Value(f"STOP_CAUSE_{cause}") for cause in StopCause}


class WorkerService(MsgStruct, frozen=True):
    """The calls of WorkerService. Methods return messages, or encoded messages."""

    context: read.RequestContext
    committer: Committer
    claims: ClaimQueue
    active_workers: ActiveWorkers
    unreadable: UnreadableRows
    watch: Watch

    async def ClaimChunks(self, request: api.ClaimChunksRequest, caller: Caller) -> bytes:
        command, wait = read.claim_chunks(request, caller)
        self.active_workers.record(caller.owner, request.worker, read.worker_info(request, command))
        claimed = await self.claims.claim(command, wait)
        return await self._joined([], claimed, lambda chunk: api.ClaimChunksResponse(chunks=[chunk]))

    async def _joined(
        self, parts: list[bytes], claimed: Sequence[ClaimedChunk], response: Callable[[api.ClaimedChunk], Message]
    ) -> bytes:
        """Return a response of these parts and as many claimed chunks as it has room for; the others are released."""
        size = sum(map(len, parts))
        for number, chunk in enumerate(claimed):
            message = await self._shown(chunk)
            if message is None:
                continue
            part = response(message).SerializeToString()
            size += len(part)
            if parts and size > MAX_REPLY_BYTES:
                self.claims.release(claimed[number:], NO_ROOM)
                break
            parts.append(part)
        return b"".join(parts)

    async def ClaimChunk(self, request: api.ClaimChunkRequest, caller: Caller) -> api.ClaimChunkResponse:
        claimed = await self.claims.claim_one(read.claim_chunk(request, caller))
        self.active_workers.record(caller.owner, request.worker)
        message = await self._shown(claimed)
        if message is None:
            raise JobUnreadable(request.job_id)
        return api.ClaimChunkResponse(chunk=message)

    async def _shown(self, claimed: ClaimedChunk) -> api.ClaimedChunk | None:
        """Return a claimed chunk for its worker; one that no worker can be shown fails for good."""
        try:
            check_encodable("job_input", claimed.inputs.job)
            check_encodable("input", claimed.inputs.chunks.get(claimed.chunk.index))
            return _claimed(claimed, self.context)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one chunk is wrong with it alone
            self.unreadable.add("ClaimChunks", f"{claimed.job.key}, chunk {claimed.chunk.index}", error)
        failure = Failure(WorkError(UNREADABLE, "the stored data of the chunk or its job cannot be read"), 0.5, True)  # noqa: FBT003
        with suppress(Refusal):  # then the lease expires
            failures = [(claimed.lease, NOTHING_NEW, failure)]
            await self.committer.submit(FailChunks(claimed.job.spec.owner, failures))
        return None

    def Heartbeat(self, request: api.HeartbeatRequest, caller: Caller) -> Awaitable[api.HeartbeatResponse]:
        return self._heartbeat(read.heartbeat(request, caller, self.context), caller)

    async def _heartbeat(self, reports: read.Reports, caller: Caller) -> api.HeartbeatResponse:
        response, workers, errors = api.HeartbeatResponse(), set[str](), _EntryErrors()
        for token, answer in reports.all_answers(await self._submit(reports)):
            result = response.results.add(lease_token=token, status=_STATUSES[answer.status])
            if answer.refusal is not None:
                result.error.CopyFrom(errors.of(answer.refusal))
            if answer.stop is not None:
                _fill_stop(result.stop, answer.stop)
            if answer.chunk is not None:
                workers.add(answer.chunk.worker)
                if answer.chunk.lease_expire_time is not None:
                    convert.fill_time(result.expire_time, answer.chunk.lease_expire_time)
        for worker in workers:
            self.active_workers.record(caller.owner, worker)
        return response

    def CompleteChunks(self, request: api.CompleteChunksRequest, caller: Caller) -> Awaitable[bytes]:
        return self._end(read.completions(request, caller, self.context), caller, api.CompleteChunksResponse)

    def FailChunks(self, request: api.FailChunksRequest, caller: Caller) -> Awaitable[bytes]:
        return self._end(read.failures(request, caller, self.context), caller, api.FailChunksResponse)

    def ReleaseChunks(self, request: api.ReleaseChunksRequest, caller: Caller) -> Awaitable[bytes]:
        return self._end(read.releases(request, caller, self.context), caller, api.ReleaseChunksResponse)

    async def _end(self, ends: read.Reports, caller: Caller, response: type[EndsResponse]) -> bytes:
        answers: Sequence[LeaseAnswer]
        claimed: Sequence[ClaimedChunk] = ()
        if ends.claim is None:
            answers = await self._submit(ends)
        else:
            self.active_workers.record(caller.owner, ends.claim.by.worker, ends.info)
            command = ReportAndClaim(cast("EndReports", ends.command), ends.claim)
            answers, claimed = await self.claims.report_and_claim(command)
        results = response(results=_results(ends, answers)).SerializeToString()
        return await self._joined([results], claimed, lambda chunk: response(claimed=[chunk]))

    async def _submit(self, reports: read.Reports) -> Sequence[LeaseAnswer]:
        """Return the outcomes of the reports that were not refused when they were read."""
        return await self.committer.submit(reports.command) if reports.command.items else ()

    def WatchLeases(self, request: api.WatchLeasesRequest, caller: Caller) -> Messages:
        owners, kinds = read.watch_leases(request, caller)
        self.active_workers.record(caller.owner, request.worker)
        return self.watch.stops(owners, kinds)


def _fill_stop(message: api.LeaseStop, stop: LeaseStop) -> None:
    message.cause, message.reason = _CAUSES[stop.cause], stop.reason


class _EntryErrors:
    """The errors of the refused reports of a reply, brief from a size on."""

    def __init__(self) -> None:
        self._size = 0

    def of(self, refusal: Refusal) -> EntryError:
        error = entry_error(refusal, brief=self._size > FULL_BYTES)
        self._size += error.ByteSize()
        return error


def _results(reports: read.Reports, answers: Sequence[LeaseAnswer]) -> list[api.LeaseResult]:
    errors = _EntryErrors()
    return [_result(token, answer, errors) for token, answer in reports.all_answers(answers)]


def _result(token: str, answer: LeaseAnswer, errors: _EntryErrors) -> api.LeaseResult:
    result = api.LeaseResult(lease_token=token, status=_STATUSES[answer.status])
    if answer.refusal is not None:
        result.error.CopyFrom(errors.of(answer.refusal))
    if answer.stop is not None:
        _fill_stop(result.stop, answer.stop)
    if answer.chunk is not None:
        result.chunk_state = convert.CHUNK_STATES[answer.chunk.state]
        if answer.chunk.next_attempt_time is not None:
            convert.fill_time(result.next_attempt_time, answer.chunk.next_attempt_time)
    return result


def _claimed(claimed: ClaimedChunk, context: read.RequestContext) -> api.ClaimedChunk:
    job, chunk = claimed.job, claimed.chunk
    message = api.ClaimedChunk(
        job_id=job.spec.job_id,
        kind=job.spec.kind,
        job_input=convert.struct(claimed.inputs.job),
        stages=convert.stages(job.spec),
        labels=job.labels or None,
        traceparent=job.spec.traceparent,
        artifact_schemes=context.schemes,
        owner=job.spec.owner,
        checkpoint=convert.struct(chunk.checkpoint),
    )
    message.lease.token = claimed.lease.token(context.epoch)
    if chunk.lease_expire_time is not None:
        convert.fill_time(message.lease.expire_time, chunk.lease_expire_time)
    convert.fill_chunk(message.chunk, chunk, claimed.inputs.chunks.get(chunk.index))
    return message
