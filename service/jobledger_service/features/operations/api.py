"""google.longrunning.Operations over jobs, for any client of long-running operations."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_proto_pb2
from google.protobuf.empty_pb2 import Empty

from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.unreadable import encode_each
from jobledger_service.core.ledger.commands import CancelJob, DeleteJob
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.queries import JobPage, Queries
from jobledger_service.core.ledger.watch import Watch, WatchOptions
from jobledger_service.core.model.errors import JobUnreadable
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.model.lifecycle import Cancellation
from jobledger_service.core.model.limits import DAY, DEFAULT_GRACE, SECOND
from jobledger_service.core.store.reads import JobRead, View
from jobledger_service.core.store.unreadable_rows import UnreadableRows
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .messages import job_id_of as named_job
from .messages import listing, operation, unreadable_operation

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


@dataclass(frozen=True, slots=True)
class OperationsService:
    """Each job of the caller is an operation."""

    committer: Committer
    queries: Queries
    watch: Watch
    unreadable: UnreadableRows

    async def GetOperation(self, request: lro.GetOperationRequest, caller: Caller) -> bytes:
        return await self._read(named_job(request.name), caller)

    async def ListOperations(self, request: lro.ListOperationsRequest, caller: Caller) -> bytes:
        return await self.queries.list_jobs(listing(request, caller), request.page_token, self._encoded_page)

    def _encoded_page(self, page: JobPage) -> bytes:
        named = ((one.job_id, one) for one in page.jobs)
        operations, bad = encode_each(named, _operation_field, self.unreadable, "ListOperations")
        rest = lro.ListOperationsResponse(next_page_token=page.next_page_token)
        rest.operations.extend(unreadable_operation(job_id) for job_id in [*map(job_id_of, page.read.unreadable), *bad])
        return b"".join((*operations, rest.SerializeToString()))

    async def CancelOperation(self, request: lro.CancelOperationRequest, caller: Caller) -> Empty:
        how = Cancellation(DEFAULT_GRACE, "", force=False)
        await self.committer.submit(CancelJob(caller.owner, named_job(request.name), how, caller.name))
        return Empty()

    async def DeleteOperation(self, request: lro.DeleteOperationRequest, caller: Caller) -> Empty:
        await self.committer.submit(DeleteJob(caller.owner, named_job(request.name), caller.name))
        return Empty()

    async def WaitOperation(self, request: lro.WaitOperationRequest, caller: Caller) -> bytes:
        job_id = named_job(request.name)
        try:
            async with asyncio.timeout(_wait_seconds(request)):
                await self._until_ended(job_id, caller)
        except TimeoutError:
            pass
        return await self._read(job_id, caller)

    async def _read(self, job_id: str, caller: Caller) -> bytes:
        return await self.queries.job(caller.owner, job_id, self._encoded, View.BASIC)

    def _encoded(self, read: JobRead) -> bytes:
        try:
            shown = operation(read)
        except Exception as error:
            self.unreadable.add("GetOperation", read.key, error)
            raise JobUnreadable(read.job_id) from error
        raw: bytes = shown.SerializeToString()
        return raw

    async def _until_ended(self, job_id: str, caller: Caller) -> None:
        async with aclosing(self.watch.job(caller.owner, job_id, b"", WatchOptions(status=True))) as messages:
            async for _ in messages:
                pass  # the watch ends when the job does


def _operation_field(read: JobRead) -> bytes:
    raw: bytes = lro.ListOperationsResponse(operations=[operation(read)]).SerializeToString()
    return raw


def _wait_seconds(request: lro.WaitOperationRequest) -> float:
    """Return the seconds to wait: those that were asked for, at most MAX_WAIT, which also is what absence means."""
    if not request.HasField("timeout"):
        return MAX_WAIT / SECOND
    with Checks() as checks:
        micros = checks.micros("timeout", request.timeout, 0, DAY)
    return min(micros, MAX_WAIT) / SECOND
