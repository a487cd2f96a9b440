"""The methods of JobService over many jobs: counts, and the jobs that run the verbs."""

from collections.abc import Sequence
from typing import Final, TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.api.services import JOB_SERVICE
from jobledger_service.core.api.shown_jobs import reply_with, status
from jobledger_service.core.api.unreadable import encode_each
from jobledger_service.core.database.rows.reads import JobRead, Listing, View
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.write.commands import FindCreated
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read

SAMPLE_SIZE: Final = 10
MAX_SAMPLE_PAGES: Final = 5
"""The maximum of pages read for a sample: one may be short while there are more."""
KEYS_PER_READ: Final = 500

Read = TypeVar("Read")

METHODS: Final = tuple(Method(JOB_SERVICE, name, Role.CALLER, Kind.WRITE) for name in read.FORMS)


class BulkCalls(MsgStruct, frozen=True):
    """CancelJobs, RetryJobs, DeleteJobs and UpdateJobs, which differ only in their requests."""

    kernel: Kernel

    async def run(self, request: read.Request, caller: Caller) -> bytes:
        """Preview the matching jobs, and start the run when a job matches."""
        order, response = read.parse_request(request, caller), read.RESPONSES[type(request)]()
        preview = self._named(order) if order.filter is None else self._matching(order.filter)
        response.matched_count, response.matched_is_lower_bound, sample = await preview
        named = ((job.job_id, job) for job in sample[:SAMPLE_SIZE])
        shown, _ = encode_each(named, status, self.kernel.unreadable, "a sample of jobs")
        response.sample.extend(shown)
        exact = None if response.matched_is_lower_bound else response.matched_count
        return reply_with(response, None if request.validate_only else await self._begin(order, caller, exact))

    CancelJobs = RetryJobs = DeleteJobs = UpdateJobs = run

    async def _begin(self, order: read.BulkRequest, caller: Caller, exact: int | None) -> bytes | None:
        """Return the run; when no job matches, that of an earlier attempt of the request, or None."""
        run = read.run(order, caller, exact, self.kernel.new_id)
        if exact == 0:
            return await self.kernel.committer.submit(
                FindCreated(caller.owner, run.request_id, run.new.spec.fingerprint)
            )
        job, _ = await self.kernel.committer.submit(run)
        return job

    async def _matching(self, filter_: JobFilter) -> tuple[int, bool, Sequence[JobRead]]:
        """Return the number of matching jobs, whether there may be more, and some of them."""
        listing = Listing(filter_, ascending=True, limit=SAMPLE_SIZE, view=View.STATUS)
        page = await self.kernel.queries.list_jobs(listing, "", _as_read)
        sample = list(page.jobs)
        for _ in range(MAX_SAMPLE_PAGES):
            if len(sample) >= SAMPLE_SIZE or not page.next_page_token:
                break
            page = await self.kernel.queries.list_jobs(listing, page.next_page_token, _as_read)
            sample += page.jobs
        return page.total, page.total_is_lower_bound, sample

    async def _named(self, order: read.BulkRequest) -> tuple[int, bool, Sequence[JobRead]]:
        there: list[str] = []
        for begin in range(0, len(order.job_ids), KEYS_PER_READ):
            there += await self.kernel.queries.existing(order.owner, order.job_ids[begin : begin + KEYS_PER_READ])
        read = await self.kernel.queries.jobs(order.owner, sorted(there)[:SAMPLE_SIZE], _as_read, View.STATUS)
        return len(there), False, list(read.jobs.values())


def _as_read(read: Read) -> Read:
    """Return the page as it was read."""
    return read
