"""ImportService: authorise, read each job, submit some at a time, count."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from jobledger.v1 import import_service_pb2 as api

from jobledger_service.core.api.errors import reason_of
from jobledger_service.core.api.worker_requests import Given
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.working_set import MAX_BATCH_ROWS
from jobledger_service.core.model.errors import Refusal
from jobledger_service.transport.identity import Caller

from .commands import ImportJobs, Past
from .requests import PastJobs, check_request

MOST_REFUSALS: Final = 100
READ_AT_ONCE: Final = 20
"""Jobs; about a millisecond."""


@dataclass(slots=True)
class _Tally:
    """What became of the jobs so far."""

    said: api.ImportJobsResponse = field(default_factory=api.ImportJobsResponse)
    number: int = 0

    def count(self, job_id: str, outcome: bool | Refusal) -> None:  # noqa: FBT001  an outcome
        if isinstance(outcome, Refusal):
            self.said.refused += 1
            if self.said.refused <= MOST_REFUSALS:
                message, reason = str(outcome), reason_of(outcome)
                self.said.refusals.add(number=self.number, job_id=job_id, reason=reason, message=message)
        elif outcome:
            self.said.imported += 1
        else:
            self.said.unchanged += 1
        self.number += 1


@dataclass(frozen=True, slots=True)
class ImportService:
    """The call of those who bring jobs along."""

    committer: Committer
    given: Given

    async def ImportJobs(
        self, requests: AsyncIterator[api.ImportJobsRequest], caller: Caller
    ) -> api.ImportJobsResponse:
        tally, past, before = _Tally(), PastJobs(caller.owner, self.given), None
        try:
            async for request in requests:
                check_request(request)
                read = await _read_all(past, request)  # while those before are written
                if before is not None:
                    await before
                before = asyncio.create_task(self._write(request, read, caller, tally))
        finally:
            if before is not None:
                await before
        return tally.said

    async def _write(
        self,
        request: api.ImportJobsRequest,
        read: Sequence[Past | Refusal],
        caller: Caller,
        tally: _Tally,
    ) -> None:
        wanted = [one for one in read if isinstance(one, Past)]
        outcomes = chain.from_iterable(
            [await self.committer.submit(ImportJobs(some, caller.name)) for some in _steps(wanted)]
        )
        for given, one in zip(request.jobs, read, strict=True):
            tally.count(given.job.job_id, one if isinstance(one, Refusal) else next(outcomes))


def _steps(wanted: Sequence[Past]) -> Iterator[Sequence[Past]]:
    """Yield the jobs in steps, none of which has more rows than a batch unless it is one job."""
    begin = rows = 0
    for place, one in enumerate(wanted):
        if place > begin and rows + one.weight > MAX_BATCH_ROWS:
            yield wanted[begin:place]
            begin, rows = place, 0
        rows += one.weight
    if wanted:
        yield wanted[begin:]


async def _read_all(past: PastJobs, request: api.ImportJobsRequest) -> list[Past | Refusal]:
    """Read the jobs of a request, some at a time: between these other calls go on."""
    read: list[Past | Refusal] = []
    for begin in range(0, len(request.jobs), READ_AT_ONCE):
        await asyncio.sleep(0)
        read += [_read(past, one) for one in request.jobs[begin : begin + READ_AT_ONCE]]
    return read


def _read(past: PastJobs, one: api.ImportedJob) -> Past | Refusal:
    try:
        return past.read(one)
    except Refusal as refusal:
        return refusal
