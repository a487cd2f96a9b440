"""What the core itself adds to a server: JobService, WorkerService, and the duties of the ledger."""

import os
import socket
from collections.abc import Iterable, Sequence
from functools import partial

from jobledger_service.transport.methods import Calls

from .api import job_service, worker_service
from .api.job_service import JobService
from .api.reply_cache import ReplyCache
from .api.worker_service import WorkerService
from .kernel import Feature, Kernel
from .ledger.backlog import Backlog
from .ledger.batch import Commit
from .ledger.due_scanner import DueScanner
from .ledger.duty import Duty
from .ledger.lease_duty import LeaseDuty
from .ledger.lease_watch import LeaseWatch
from .ledger.service_jobs import ServiceJobs
from .model.limits import SECOND
from .store.database_clock import DatabaseClock
from .store.due import LEASES_DUE, SERVICE_JOBS_DUE, SqlDueStore

CLOCK_RENEW_SECONDS = 5.0
"""Seconds after which the database is asked for the time again; two good clocks part by less than a millisecond."""


def core(kernel: Kernel, features: Sequence[Feature]) -> Feature:
    """Return what the core adds; it works the service's own jobs with `features`, and wakes their duties."""
    replies = ReplyCache() if kernel.database.single_writer else None
    handlers = {kind: work for one in features for kind, work in one.chunk_handlers.items()}
    worker = f"jobledger {socket.gethostname()}:{os.getpid()}"
    service_jobs = ServiceJobs(
        kernel.store, kernel.queries, kernel.committer, kernel.claims, handlers, worker, kernel.clock, SERVICE_JOBS_DUE
    )

    def on_commit(commit: Commit) -> None:
        if replies is not None:
            replies.forget(commit.touched)
        kernel.feed.publish(commit.entries)
        kernel.claims.wake(commit.ready)
        service_jobs.on_commit(commit.ready)

    def drain() -> None:
        kernel.feed.close()
        kernel.claims.close()

    duties = [service_jobs.duty, *_duties(kernel)]
    return Feature(
        calls=_calls(kernel, replies),
        duties=[*duties, _due_scanner(kernel, (*duties, *(duty for one in features for duty in one.duties)))],
        on_commit=on_commit,
        drain=drain,
        close=kernel.claims.settle,
    )


def _calls(kernel: Kernel, replies: ReplyCache | None) -> list[Calls]:
    jobs = JobService(
        kernel.committer,
        kernel.queries,
        kernel.watch,
        kernel.new_id,
        kernel.on_deletion,
        kernel.unreadable,
        replies,
        _backlog(kernel),
    )
    workers = WorkerService(
        kernel.committer,
        kernel.claims,
        kernel.request_context,
        kernel.active_workers,
        kernel.unreadable,
        LeaseWatch(kernel.feed, kernel.settings.bookmark_interval),
    )
    return [Calls(job_service.METHODS, jobs), Calls(worker_service.METHODS, workers)]


def _backlog(kernel: Kernel) -> Backlog | None:
    limit = kernel.settings.queued_jobs_per_owner
    if limit is None:
        return None

    async def count(owners: Sequence[str]) -> dict[str, int]:
        return await kernel.queries.run(kernel.store.queued_jobs, owners, limit)

    return Backlog(count, limit)


def _duties(kernel: Kernel) -> list[Duty]:
    leases = LeaseDuty(
        kernel.store,
        kernel.queries,
        kernel.committer,
        kernel.clock,
        kernel.sample_jitter,
        kernel.unreadable,
        _expiry_delay(kernel),
    )
    duties = [Duty("leases", leases.once, due=LEASES_DUE)]
    if isinstance(kernel.clock, DatabaseClock):
        duties.append(Duty("clock", partial(_renew, kernel, kernel.clock), CLOCK_RENEW_SECONDS))
    return duties


async def _renew(kernel: Kernel, clock: DatabaseClock) -> bool:
    await kernel.queries.run(clock.renew)
    return False


def _due_scanner(kernel: Kernel, duties: Iterable[Duty]) -> Duty:
    by_name = {duty.name: duty for duty in duties if duty.due is not None}
    conditions = {name: duty.due for name, duty in by_name.items()}
    store = SqlDueStore(kernel.database, _expiry_delay(kernel), conditions)
    scanner = DueScanner(store, kernel.queries, kernel.clock, by_name)
    return Duty("due scanner", scanner.once, kernel.settings.duty_interval)


def _expiry_delay(kernel: Kernel) -> int:
    return round(kernel.settings.expiry_delay * SECOND)
