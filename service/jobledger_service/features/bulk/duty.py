"""Runs bulk runs: a batch of jobs at a time, at the rate that the operator allows at most."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from msgspec.structs import replace

from jobledger_service.core.api.convert import encoded_struct
from jobledger_service.core.database.rows.reads import JobRead, Listing, PageKey, View
from jobledger_service.core.duties.service_jobs import LEASE
from jobledger_service.core.kernel import Kernel, Turn
from jobledger_service.core.model.filters.filter import TimeRange
from jobledger_service.core.model.job import Job, job_key
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.run import RunCursor
from jobledger_service.core.read.job_reads import NO_BOUND
from jobledger_service.core.write.commands import ClaimedChunk, StepLease, StepOutcome
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.sharing.places import Places, share_places

from .commands import BulkStep, StepBatch
from .requests import BulkOrder, order_of

if TYPE_CHECKING:
    from jobledger_service.core.model.micros import Micros

JOBS_PER_STEP: Final = 50
STEPS_PER_SECOND: Final = 20
"""Other commands wait behind a step: at a rate below 50 jobs in this many steps, steps have fewer jobs."""
MAX_UNFINISHED_PERCENT: Final = 99.9


class BulkRuns:
    """Runs one step at a time, owners in turn; the rate is in jobs a second for all together."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._store = kernel.store
        self._readers = kernel.readers
        self._rate = kernel.settings.bulk_rate
        self._max_jobs = max(1, min(JOBS_PER_STEP, self._rate // STEPS_PER_SECOND))
        self._steps = Places(share_places(1))

    async def work(self, claimed: ClaimedChunk, turn: Turn) -> None:
        """Do the verb with the chunk's jobs, from the cursor of the last attempt, until the turn is over."""
        order = order_of(claimed)
        run = await self._readers.for_server(self._store.read_run, claimed.job.key)
        cursor = run.cursors.get(claimed.chunk.index) if run else None
        next_batch = self._named_jobs if order.filter is None else self._matching_jobs
        outcome, max_jobs = StepOutcome.GOING, self._max_jobs
        while outcome in (StepOutcome.GOING, StepOutcome.TOO_LARGE):
            batch = await next_batch(order, claimed.job, cursor, max_jobs)
            step = BulkStep(
                step_lease=StepLease(claimed.lease, cursor, LEASE, encoded_struct),
                batch=batch,
                verb=order.verb,
                filter=order.filter,
                delete_artifacts=order.delete_artifacts,
            )
            outcome = await self._submit(step, claimed.job.spec.owner)
            if outcome is StepOutcome.TOO_LARGE:
                max_jobs = len(batch.jobs) // 2
                continue
            cursor, max_jobs = batch.end, min(max_jobs + 1, self._max_jobs)
            if turn.is_over:
                return

    async def _submit(self, step: BulkStep, owner: str) -> StepOutcome:
        """Take a step in the owner's turn, and delay the next one by the rate."""
        loop = asyncio.get_running_loop()
        place = await self._steps.take(owner)
        try:
            begun = loop.time()
            outcome = await self._kernel.committer.submit(step)
            await asyncio.sleep(max(0.0, begun + len(step.batch.jobs) / self._rate - loop.time()))
        finally:
            self._steps.release(owner, place)
        return outcome

    async def _named_jobs(self, order: BulkOrder, run: Job, cursor: RunCursor | None, max_jobs: int) -> StepBatch:
        """Return the next of the named jobs; the cursor is the number of done ones."""
        begin = cast("int", cursor[0]) if cursor else 0
        keys = [job_key(order.owner, job_id) for job_id in order.job_ids[begin : begin + max_jobs]]
        read = await self._readers.for_owner(run.spec.owner, self._store.read_jobs, keys, View.BASIC, NO_BOUND)
        keys = keys[: _within(read.jobs.get(key) for key in keys)]
        end = begin + len(keys)
        readable = [key for key in keys if key not in read.unreadable]
        bad = [key for key in keys if key in read.unreadable]
        return StepBatch(readable, (end,), ProgressReport(items_completed=end), end == len(order.job_ids), bad)

    async def _matching_jobs(self, order: BulkOrder, run: Job, cursor: RunCursor | None, max_jobs: int) -> StepBatch:
        """Return the next jobs that a filter finds; the cursor is the last one's place, how many, and the first's time.

        They are walked from the oldest on, and only those from before the run, so that the walk has an end.
        """
        create_time, key, looked, first = cast("tuple[Micros, str, int, Micros]", cursor or (0, "", 0, 0))
        after = PageKey(create_time, create_time, key) if cursor else None
        listing = _listing(order, run, after, max_jobs)
        listed = await self._readers.for_owner(run.spec.owner, self._store.list_jobs, listing)
        jobs = listed.jobs[: _within(listed.jobs)]
        cut = len(jobs) < len(listed.jobs)
        if jobs and (cut or listed.next is None):
            create_time, key = jobs[-1].create_time, jobs[-1].key
        elif listed.next is not None:
            create_time, key = listed.next.create_time, listed.next.job_key
        first = first or (jobs[0].create_time if jobs else create_time)
        looked += len(jobs)
        done = _percent(looked, order.matched, create_time - first, run.spec.create_time - first)
        last = not cut and listed.next is None
        # after a cut step the next one covers the same page, and reports its unreadable jobs
        bad = () if cut else listed.unreadable
        cursor = (create_time, key, looked, first)
        return StepBatch([job.key for job in jobs], cursor, ProgressReport(done), last, bad)


def _listing(order: BulkOrder, run: Job, after: PageKey | None, limit: int) -> Listing:
    assert order.filter is not None  # noqa: S101  the caller has looked
    span = order.filter.create_time
    end = run.spec.create_time if span.end is None else min(span.end, run.spec.create_time)
    older = replace(order.filter, create_time=TimeRange(span.start, end))
    return Listing(older, ascending=True, after=after, limit=limit)


def _within(jobs: Iterable[JobRead | None]) -> int:
    """Return the number of jobs in a step: at least one, and no more than a batch has room for with their chunks.

    What they have beside chunks is counted when the step has loaded them.
    """
    count, rows = 0, 1
    for job in jobs:
        rows += 1 + job.chunk_count if job else 1
        if count and rows > MAX_BATCH_ROWS:
            break
        count += 1
    return count


def _percent(looked: int, matched: int | None, walked: int, whole: int) -> float:
    """Return the progress of a walk: by jobs where their number is known, else by their creation times."""
    part = looked / max(matched, 1) if matched is not None else walked / max(whole, 1)
    return min(100 * part, MAX_UNFINISHED_PERCENT)
