"""What the core itself adds to a server: JobService, WorkerService, and the duties of the ledger."""

from collections.abc import Iterable, Sequence
from typing import Final

from jobledger_service.transport.methods import Calls

from .api import job_service, worker_service
from .api.encoded_jobs import EncodedJobs
from .api.job_service import JobService
from .api.worker_service import WorkerService
from .database.clock import DatabaseClock
from .duties.due_rows import holds, leases
from .duties.service_jobs import ServiceJobs
from .duty import Duty
from .kernel import Kernel, ServerParts
from .model.bounds.limits import SECOND
from .read.due import SqlDueStore
from .write.batch import Commit

DUE_SCAN_SECONDS: Final = 0.5
"""Seconds between queries for expired leases, due retries, schedules and deadlines, which may be late by as much."""
EXPIRY_DELAY_SECONDS: Final = 2.0
"""Seconds after its end when a lease expires and a run times out: longer than a report from before may wait."""
WAIT_CHECK_SECONDS = 0.5
"""Seconds between checks of who has waited too long for a database that does not answer."""
CLOCK_RENEW_SECONDS = 5.0
"""Seconds after which the database is asked for the time again; two good clocks part by less than a millisecond."""


def core(kernel: Kernel, features: Sequence[ServerParts]) -> ServerParts:
    """Return what the core adds; it works the service's own jobs with `features`, and wakes their duties."""
    encoded = EncodedJobs(kernel.store.position()) if kernel.database.single_writer else None
    handlers = {kind: work for feature in features for kind, work in feature.chunk_handlers.items()}
    service_jobs, delay = ServiceJobs(kernel, handlers), round(EXPIRY_DELAY_SECONDS * SECOND)

    def on_commit(commit: Commit) -> None:
        if encoded is not None:
            encoded.on_commit(commit)
        kernel.feed.publish(commit.entries)
        kernel.claims.wake(commit.ready)
        kernel.claims.wake(commit.pauses)
        service_jobs.on_commit(commit.ready)

    def drain() -> None:
        kernel.feed.close()
        kernel.claims.close()

    duties = [service_jobs.duty, leases(kernel, delay), holds(kernel), _waits(kernel)]
    if isinstance(kernel.clock, DatabaseClock):
        duties.append(_clock(kernel, kernel.clock))
    of_features = (duty for feature in features for duty in feature.duties)
    return ServerParts(
        calls=_calls(kernel, encoded),
        duties=[*duties, _due_scanner(kernel, delay, (*duties, *of_features))],
        on_commit=on_commit,
        drain=drain,
        close=kernel.claims.settle,
    )


def _calls(kernel: Kernel, encoded: EncodedJobs | None) -> list[Calls]:
    jobs = JobService(
        kernel.committer,
        kernel.queries,
        kernel.watch,
        kernel.new_id,
        kernel.unreadable,
        encoded,
    )
    workers = WorkerService(
        kernel.request_context,
        kernel.committer,
        kernel.claims,
        kernel.active_workers,
        kernel.unreadable,
        kernel.watch,
    )
    return [Calls(job_service.METHODS, jobs), Calls(worker_service.METHODS, workers)]


def _waits(kernel: Kernel) -> Duty:
    async def expire() -> bool:
        if kernel.committer.is_stopped or kernel.database.availability.is_away:
            kernel.waits.expire(kernel.settings.database_call_timeout)
        return False

    return Duty("waits", expire, WAIT_CHECK_SECONDS)


def _clock(kernel: Kernel, clock: DatabaseClock) -> Duty:
    async def renew() -> bool:
        await kernel.readers.for_server(clock.renew)
        return False

    return Duty("clock", renew, CLOCK_RENEW_SECONDS)


def _due_scanner(kernel: Kernel, delay: int, duties: Iterable[Duty]) -> Duty:
    """Return the duty that finds all due work with one read. What a duty leaves undone is found again."""
    by_name = {duty.name: duty for duty in duties if duty.due is not None}
    store = SqlDueStore(kernel.database, delay, {name: duty.due for name, duty in by_name.items()})

    async def wake_due() -> bool:
        for name in await kernel.readers.for_server(store.due, kernel.clock(), kernel.clock.calendar()):
            by_name[name].wake_event.set()
        return False

    return Duty("due scanner", wake_due, DUE_SCAN_SECONDS)
