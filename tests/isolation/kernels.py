"""A kernel in this process, whose clock the test sets and whose commits it sees."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import uuid4

from jobledger_service.app import families_of
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.kernel import Environment, Kernel
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import JobSpec, owner_of
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure
from jobledger_service.core.opening import open_kernel
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.commands import CancelJob, ClaimChunks, ClaimedChunk, CreateJob, FailChunks
from jobledger_service.settings import Settings

from tests.support.clocks import SetClock

HOUR = 3_600 * SECOND


class Ledger:
    """A kernel whose clock the test sets; `commits` are those of its jobs."""

    def __init__(self, kernel: Kernel, clock: list[int], commits: list[Commit]) -> None:
        self.kernel = kernel
        self.clock = clock
        self.commits = commits

    async def create(self, owner: str, count: int, *, chunks: int = 1, tries: int = 2, **fields: int) -> None:
        """Create so many jobs; `fields` are those of a NewJob, or timeouts."""
        times = {name: fields.pop(name) for name in ("schedule_time", "expire_time") if name in fields}

        def new(number: int) -> CreateJob:
            spec = JobSpec(owner, f"j{number}", "k", b"same", retry_policy=RetryPolicy(max_attempts=tries), **fields)
            return CreateJob(NewJob(spec, [0] * chunks, **times), "caller")

        await asyncio.gather(*(self.kernel.committer.submit(new(number)) for number in range(count)))

    async def claim(self, owner: str, count: int, duration: int = HOUR) -> list[ClaimedChunk]:
        """Claim so many chunks for a time."""
        return await self.kernel.committer.submit(ClaimChunks(owner, ("k",), count, Claim("w", duration))) or []

    async def fail(self, owner: str, claimed: list[ClaimedChunk], delay: int | None = None) -> None:
        """Fail an attempt at each chunk, which waits before the next."""
        failure = Failure(WorkError("BOOM", ""), 0.5, retry_delay=delay)
        items = [(one.lease, NOTHING_NEW, failure) for one in claimed]
        await self.kernel.committer.submit(FailChunks(owner, items))

    async def cancel(self, owner: str, count: int) -> None:
        """Cancel the first so many jobs."""
        how, submit = Cancellation(grace=0), self.kernel.committer.submit
        await asyncio.gather(*(submit(CancelJob(owner, f"j{number}", how, "c")) for number in range(count)))

    async def owners_done(self, once: Callable[[], Awaitable[bool]]) -> list[set[str]]:
        """Do a duty until nothing is left, and return the owners of the jobs that each commit changed."""
        self.clock[0] += 2 * HOUR
        self.commits.clear()
        while await once():
            pass
        return [{owner_of(key) for key in commit.touched} for commit in self.commits]


@asynccontextmanager
async def running_kernel(
    database: Database, clock: list[int], on_commit: Callable[[Commit], object], **settings: Any
) -> AsyncIterator[Kernel]:
    """Run a kernel over a database, by a clock that the test sets."""

    def nothing(*_: object) -> None:
        pass

    environment = Environment(Settings(queue_wait=60, **settings), database, lambda: str(uuid4()))
    kernel = open_kernel(
        environment,
        families_of(environment),
        on_commit=on_commit,
        on_batch=nothing,
        on_merged=nothing,
        on_unreadable=nothing,
        clock=SetClock(clock),
        sample_jitter=lambda: 0.5,
        random_bytes=bytes,
        rate_limiter=None,
    )
    running = asyncio.create_task(kernel.committer.run())
    yield kernel
    kernel.committer.close()
    await running
    kernel.readers.close()


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Ledger]:
    """Open a kernel over a new database."""
    clock, commits = [1_000 * HOUR], list[Commit]()
    with closing(open_database(url)) as database:
        upgrade(database)
        async with running_kernel(database, clock, commits.append, **settings) as kernel:
            yield Ledger(kernel, clock, commits)
