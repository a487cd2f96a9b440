"""What is due is done in steps in which owners take turns: an owner with very many due rows holds up nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import uuid4

import pytest
from jobledger_service.core.duties.due_rows import holds, leases
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.commands import CancelJob, ClaimChunks, ClaimedChunk, CreateJob, FailChunks
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import JobSpec, owner_of
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure
from jobledger_service.core.opening import open_kernel
from jobledger_service.core.store.engines import open_database
from jobledger_service.core.store.migrate import upgrade
from jobledger_service.features.retention.feature import expired_jobs
from jobledger_service.settings import Settings

from tests.support.databases import new_database
from tests.support.families import all_families

ALICE, BOB = "alice", "bob"
MANY = 1_200
"""The due rows of alice: more than two steps of the duties have."""
HOUR = 3_600 * SECOND


class Ledger:
    """A kernel whose clock the test sets; `steps` are the owners of the events of each commit."""

    def __init__(self, kernel: Kernel, clock: list[int], steps: list[set[str]]) -> None:
        self.kernel = kernel
        self.clock = clock
        self.steps = steps

    async def create(self, owner: str, count: int, *, chunks: int = 1, **fields: int) -> None:
        """Create so many jobs; `fields` are those of a NewJob, or timeouts."""
        times = {name: fields.pop(name) for name in ("schedule_time", "expire_time") if name in fields}

        def new(number: int) -> CreateJob:
            spec = JobSpec(owner, f"j{number}", "k", b"same", retry_policy=RetryPolicy(max_attempts=2), **fields)
            return CreateJob(NewJob(spec, [0] * chunks, **times), "caller")

        await asyncio.gather(*(self.kernel.committer.submit(new(number)) for number in range(count)))

    async def claim(self, owner: str, count: int, duration: int = HOUR) -> list[ClaimedChunk]:
        """Claim so many chunks for a time."""
        return await self.kernel.committer.submit(ClaimChunks(owner, ("k",), count, Claim("w", duration))) or []

    async def fail(self, owner: str, claimed: list[ClaimedChunk]) -> None:
        """Fail an attempt at each chunk, which waits before the next."""
        failure = Failure(WorkError("BOOM", ""), 0.5)
        items = [(one.lease, NOTHING_NEW, failure, "") for one in claimed]
        await self.kernel.committer.submit(FailChunks(owner, items))

    async def cancel(self, owner: str, count: int) -> None:
        """Cancel the first so many jobs."""
        how, submit = Cancellation(grace=0), self.kernel.committer.submit
        await asyncio.gather(*(submit(CancelJob(owner, f"j{number}", how, "c")) for number in range(count)))

    async def owners_done(self, once: Callable[[], Awaitable[bool]]) -> list[set[str]]:
        """Do a duty until nothing is left, and return the owners of the jobs that each commit changed."""
        self.clock[0] += 2 * HOUR
        self.steps.clear()
        while await once():
            pass
        return self.steps


@pytest.fixture
async def ledger(store: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(new_database(store, tmp_path)) as one:
        yield one


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Ledger]:
    clock, steps = [1_000 * HOUR], list[set[str]]()

    def on_commit(commit: Commit) -> None:
        steps.append({owner_of(key) for key in commit.touched})

    def nothing(*_: object) -> None:
        pass

    with closing(open_database(url)) as database:
        upgrade(database)
        kernel = open_kernel(
            Settings(queue_wait=60),
            database,
            on_commit=on_commit,
            on_batch=nothing,
            on_merged=nothing,
            on_unreadable=nothing,
            clock=lambda: clock[0],
            new_id=lambda: str(uuid4()),
            sample_jitter=lambda: 0.5,
            random_bytes=bytes,
            on_deletion=lambda *_: None,
            families=all_families(database)[:1],
            rate_limiter=None,
        )
        running = asyncio.create_task(kernel.committer.run())
        yield Ledger(kernel, clock, steps)
        kernel.committer.close()
        await running
        kernel.readers.close()


def assert_bob_has_a_turn(steps: list[set[str]]) -> None:
    """Hold that alice goes first, then bob, and then alice again until nothing of hers is left."""
    turn = steps.index({BOB})
    assert 1 <= turn <= 2
    assert len(steps) >= turn + 2
    assert all(owners == {ALICE} for number, owners in enumerate(steps) if number != turn)


async def test_schedules_of_others_are_lifted_between_those_of_one_owner(ledger: Ledger):
    at = ledger.clock[0] + HOUR
    await ledger.create(ALICE, MANY, schedule_time=at)
    await ledger.create(BOB, 1, schedule_time=at + 1)
    assert_bob_has_a_turn(await ledger.owners_done(holds(ledger.kernel).once))


async def test_backoffs_of_others_are_lifted_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY), (BOB, 1)):
        await ledger.create(owner, 1, chunks=count)
        await ledger.fail(owner, await ledger.claim(owner, count))
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(holds(ledger.kernel).once))


async def test_leases_of_others_expire_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY), (BOB, 1)):
        await ledger.create(owner, 1, chunks=count)
        assert len(await ledger.claim(owner, count)) == count
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(leases(ledger.kernel, 0).once))


async def test_runs_of_others_time_out_between_large_ones_of_one_owner(ledger: Ledger):
    for owner, count, chunks in ((ALICE, 12, 600), (BOB, 1, 1)):
        await ledger.create(owner, count, chunks=chunks, run_timeout=HOUR)
        for _ in range(count):
            assert len(await ledger.claim(owner, chunks, 9 * HOUR)) == chunks
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(leases(ledger.kernel, 0).once))


async def test_jobs_of_others_are_deleted_between_those_of_one_owner(ledger: Ledger):
    for owner, count in ((ALICE, MANY // 20), (BOB, 1)):
        await ledger.create(owner, count, expire_time=ledger.clock[0] + HOUR)
        await ledger.cancel(owner, count)
        ledger.clock[0] += 1
    assert_bob_has_a_turn(await ledger.owners_done(expired_jobs(ledger.kernel).do_step))
