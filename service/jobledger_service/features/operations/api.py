"""google.longrunning.Operations over jobs, for any client of long-running operations."""

import asyncio
import re
from contextlib import aclosing
from functools import partial
from typing import Final, NamedTuple

from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_proto_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2, status_pb2
from jobledger.v1 import chunk_pb2, job_pb2
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.checks import JOB_ID, Checks
from jobledger_service.core.api.list_requests import page_size
from jobledger_service.core.api.shown_jobs import shown_job
from jobledger_service.core.api.unreadable import encode_each
from jobledger_service.core.database.rows.reads import JobRead, Listing, View
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.limits import DAY, DEFAULT_GRACE, SECOND
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.model.lifecycle import Cancellation
from jobledger_service.core.model.refusals.errors import InvalidField, JobNotFound, JobUnreadable
from jobledger_service.core.model.states import ENDED, JobState
from jobledger_service.core.read.queries import JobPage
from jobledger_service.core.watch.watch import WatchOptions
from jobledger_service.core.write.commands import CancelJob, DeleteJob
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

COLLECTION: Final = "operations"
MAX_FILTER: Final = 1_000
_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATE: Final = re.compile(r'(?:metadata\.)?state\s*=\s*"?([A-Z]+)"?')
_DONE: Final = re.compile(r"done\s*=\s*(true|false)")
RULE: Final = "must be empty, done=true, done=false, or state=STATE terms joined by OR"

_JOB_TYPE: Final = f"type.googleapis.com/{job_pb2.Job.DESCRIPTOR.full_name}"
COPIES: Final = 2
"""Times that an operation holds its job: as its metadata, and as its response."""

MAX_WAIT: Final = 600 * SECOND
OPERATIONS: Final = operations_proto_pb2.DESCRIPTOR.services_by_name["Operations"]
METHODS: Final = (
    Method(OPERATIONS, "GetOperation", Role.CALLER, Kind.READ, ("JOB_NOT_FOUND", "JOB_UNREADABLE")),
    Method(OPERATIONS, "ListOperations", Role.CALLER, Kind.READ, ("PAGE_TOKEN_INVALID",)),
    Method(OPERATIONS, "WaitOperation", Role.CALLER, Kind.WATCH,
        ("JOB_NOT_FOUND", "JOB_UNREADABLE", "HISTORY_TRIMMED", "TOO_MANY_WATCHES", "QUOTA_EXCEEDED"),
        waits=True),
    Method(OPERATIONS, "CancelOperation", Role.CALLER, Kind.WRITE, ("JOB_NOT_FOUND", "JOB_UNREADABLE")),
    Method(OPERATIONS, "DeleteOperation", Role.CALLER, Kind.WRITE,
        ("JOB_NOT_FOUND", "JOB_NOT_ENDED", "JOB_UNREADABLE")),
)  # fmt: skip


class Named(NamedTuple):
    """The parsed name of an operation: a job_id, and the job's uid, empty for the job that has the id now."""

    job_id: str
    uid: str


def named_job(name: str) -> Named:
    """Return the job of an operation; raises InvalidField."""
    collection, _, job = name.partition("/")
    job_id, at, uid = job.partition("@")
    if collection != COLLECTION or not JOB_ID.fullmatch(job_id) or bool(at) is not bool(_UID.fullmatch(uid)):
        raise InvalidField(("name", f"value {name[:200]!r} must be {COLLECTION}/JOB_ID, or {COLLECTION}/JOB_ID@UID"))
    return Named(job_id, uid)


def listing(request: lro.ListOperationsRequest, caller: Caller) -> Listing:
    """Return what ListOperations asks for: the newest first."""
    with Checks() as checks:
        if request.name not in ("", COLLECTION):
            checks.fault("name", f"value {request.name[:200]!r} must be {COLLECTION!r}")
        limit = page_size(checks, request.page_size, max_size=500)
        states = _states(request.filter.strip()) if len(request.filter) <= MAX_FILTER else None
        if states is None:
            checks.fault("filter", f"value {request.filter[:200]!r} {RULE}")
    filter_ = JobFilter(owner=caller.owner, states=states or frozenset())
    return Listing(filter_, limit=limit, copies=COPIES)


def _states(text: str) -> frozenset[JobState] | None:
    """Return the states of a filter, all for an empty one; None for an invalid one."""
    if not text:
        return frozenset()
    if done := _DONE.fullmatch(text):
        return ENDED if done[1] == "true" else frozenset(JobState) - ENDED
    named = [_STATE.fullmatch(part.strip()) for part in re.split(r"\bOR\b", text)]
    names = {match[1] for match in named if match}
    if not all(named) or not names <= set(JobState):
        return None
    return frozenset(map(JobState, names))


def operation(read: JobRead) -> lro.Operation:
    """Return a job as an operation: its metadata is the job; done when the job has ended. Raises ValueError."""
    job, raw = shown_job(read)
    packed = AnyMessage(type_url=_JOB_TYPE, value=raw)
    shown = lro.Operation(name=f"{COLLECTION}/{read.job_id}@{job.uid}", metadata=packed, done=read.state in ENDED)
    match read.state:
        case JobState.COMPLETED:
            shown.response.CopyFrom(packed)
        case JobState.FAILED:
            shown.error.CopyFrom(_failure(job.error))
        case JobState.CANCELLED:
            reason = job.cancel_reason or "the job was cancelled"
            shown.error.CopyFrom(status_pb2.Status(code=code_pb2.CANCELLED, message=reason))
    return shown


def _failure(error: chunk_pb2.WorkError) -> status_pb2.Status:
    """Return why a job failed: the code of the work is its own, so that of the status is UNKNOWN."""
    message = f"{error.code}: {error.message}" if error.message else error.code
    shown = status_pb2.Status(code=code_pb2.UNKNOWN, message=message)
    shown.details.add().Pack(error)
    return shown


class OperationsService(MsgStruct, frozen=True):
    """Each job of the caller is an operation."""

    kernel: Kernel

    async def GetOperation(self, request: lro.GetOperationRequest, caller: Caller) -> bytes:
        return await self._read(named_job(request.name), caller)

    async def ListOperations(self, request: lro.ListOperationsRequest, caller: Caller) -> bytes:
        return await self.kernel.queries.list_jobs(listing(request, caller), request.page_token, self._encoded_page)

    def _encoded_page(self, page: JobPage) -> bytes:
        named = ((job.job_id, job) for job in page.jobs)
        operations, bad = encode_each(named, _operation_field, self.kernel.unreadable, "ListOperations")
        rest = lro.ListOperationsResponse(next_page_token=page.next_page_token)
        # unreadable jobs appear by name and not done, as their state is unknown
        for job_id in [*map(job_id_of, page.read.unreadable), *bad]:
            rest.operations.add(name=f"{COLLECTION}/{job_id}")
        return b"".join((*operations, rest.SerializeToString()))

    async def CancelOperation(self, request: lro.CancelOperationRequest, caller: Caller) -> Empty:
        how, named = Cancellation(DEFAULT_GRACE, "", force=False), named_job(request.name)
        await self.kernel.committer.submit(CancelJob(caller.owner, named.job_id, how, caller.name, uid=named.uid))
        return Empty()

    async def DeleteOperation(self, request: lro.DeleteOperationRequest, caller: Caller) -> Empty:
        named = named_job(request.name)
        await self.kernel.committer.submit(DeleteJob(caller.owner, named.job_id, caller.name, uid=named.uid))
        return Empty()

    async def WaitOperation(self, request: lro.WaitOperationRequest, caller: Caller) -> bytes:
        named = named_job(request.name)
        watch = self.kernel.watch.job(caller.owner, named.job_id, b"", WatchOptions(status=True))
        try:
            async with asyncio.timeout(_wait_seconds(request)), aclosing(watch) as messages:
                async for _ in messages:
                    pass  # the watch ends when the job does
        except TimeoutError:
            pass
        return await self._read(named, caller)

    async def _read(self, named: Named, caller: Caller) -> bytes:
        return await self.kernel.queries.job(caller.owner, named.job_id, partial(self._encoded, named), View.BASIC)

    def _encoded(self, named: Named, read: JobRead) -> bytes:
        try:
            shown = operation(read)
        except Exception as error:
            self.kernel.unreadable.add("GetOperation", read.key, error)
            raise JobUnreadable(read.job_id) from error
        if named.uid and not shown.name.endswith(f"@{named.uid}"):
            # another job has the id, after a deletion, or after a fail-over that lost the first one
            raise JobNotFound(named.job_id)
        raw: bytes = shown.SerializeToString()
        return raw


def _operation_field(read: JobRead) -> bytes:
    raw: bytes = lro.ListOperationsResponse(operations=[operation(read)]).SerializeToString()
    return raw


def _wait_seconds(request: lro.WaitOperationRequest) -> float:
    """Return the seconds to wait: those that were asked for, at most MAX_WAIT, which also is what absence means."""
    with Checks() as checks:
        return min(checks.span(request, "timeout", 0, DAY, absent=MAX_WAIT), MAX_WAIT) / SECOND
