"""ImportService: read each job, submit some at a time, count."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain
from typing import Final

from jobledger.v1 import import_service_pb2 as api
from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.api.errors import reason_number
from jobledger_service.core.api.job_requests import NewId
from jobledger_service.core.api.worker_requests import RequestContext
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.working_set import MAX_BATCH_ROWS
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.model.job import uid_of
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .commands import ImportJobs, JobImport
from .requests import check_request, read_job

MAX_REFUSALS: Final = 100
JOBS_PER_SLICE: Final = 20
"""Jobs for about a millisecond of reading."""


class _ImportCounts(MsgStruct):
    """The results of the jobs so far."""

    response: api.ImportJobsResponse = field(default_factory=api.ImportJobsResponse)
    number: int = 0

    def count(self, job_id: str, outcome: bool | Refusal) -> None:  # noqa: FBT001  an outcome
        if isinstance(outcome, Refusal):
            self.response.refused += 1
            if self.response.refused <= MAX_REFUSALS:
                self.response.refusals.add(
                    number=self.number, job_id=job_id, reason=reason_number(outcome), message=str(outcome)
                )
        elif outcome:
            self.response.imported += 1
        else:
            self.response.unchanged += 1
        self.number += 1


IMPORT_SERVICE: Final = api.DESCRIPTOR.services_by_name["ImportService"]
METHODS: Final = (
    Method(IMPORT_SERVICE, "ImportJobs", Role.ADMIN, Kind.WRITE, ("TOO_MANY_WATCHES", "QUOTA_EXCEEDED"), waits=True),
)


class ImportService(MsgStruct, frozen=True):
    """The call of ImportService."""

    committer: Committer
    request_context: RequestContext
    new_id: NewId

    async def ImportJobs(
        self, requests: AsyncIterator[api.ImportJobsRequest], caller: Caller
    ) -> api.ImportJobsResponse:
        counts, before = _ImportCounts(), None
        try:
            async for request in requests:
                check_request(request)
                read = await self._read_all(request, caller.owner)  # while those before are written
                if before is not None:
                    await before
                before = asyncio.create_task(self._write(request, read, caller, counts))
        finally:
            if before is not None:
                await before
        return counts.response

    async def _read_all(self, request: api.ImportJobsRequest, owner: str) -> list[JobImport | Refusal]:
        """Read the jobs of a request, some at a time, so that other calls run between them."""
        read: list[JobImport | Refusal] = []
        for number, one in enumerate(request.jobs):
            if number % JOBS_PER_SLICE == 0:
                await asyncio.sleep(0)
            try:
                read.append(read_job(one, owner, self.request_context, uid_of(self.new_id())))
            except Refusal as refusal:
                read.append(refusal)
        return read

    async def _write(
        self,
        request: api.ImportJobsRequest,
        read: Sequence[JobImport | Refusal],
        caller: Caller,
        counts: _ImportCounts,
    ) -> None:
        wanted = [one for one in read if isinstance(one, JobImport)]
        outcomes = chain.from_iterable(
            [await self.committer.submit(ImportJobs(some, caller.name)) for some in _steps(wanted)]
        )
        for given, one in zip(request.jobs, read, strict=True):
            counts.count(given.job.job_id, one if isinstance(one, Refusal) else next(outcomes))


def _steps(wanted: Sequence[JobImport]) -> Iterator[Sequence[JobImport]]:
    """Yield the jobs in steps, none of which has more rows than a batch unless it is one job."""
    begin = rows = 0
    for place, one in enumerate(wanted):
        if place > begin and rows + one.weight > MAX_BATCH_ROWS:
            yield wanted[begin:place]
            begin, rows = place, 0
        rows += one.weight
    if wanted:
        yield wanted[begin:]
