"""No wake-up of a claim is lost, and what a claim took for a caller who has left is given back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from jobledger_service.core.api.shown_jobs import shown_job
from jobledger_service.core.database.rows.reads import AttemptPlace, AttemptsWanted, View
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.model.work import NO_RESULTS, NOTHING_NEW, Claim, Release
from jobledger_service.core.write import claims
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.claims import ClaimQueue
from jobledger_service.core.write.commands import ClaimChunks, ClaimedChunk, CompleteChunks, CreateJob, ReportAndClaim
from jobledger_service.core.write.committer import Committer

from tests.support.bounds import BOUND
from tests.support.ledger import PATIENT, Ledger, create

pytestmark = pytest.mark.fast

MINUTE = 60_000_000
Task = asyncio.Task[list[ClaimedChunk]]


@pytest.fixture(autouse=True)
def nobody_looks_without_a_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIM_POLL_SECONDS", 10 * BOUND)


def claim(*kinds: str, limit: int = 1) -> ClaimChunks:
    return ClaimChunks("me", kinds or ("k",), limit, Claim("worker", MINUTE))


def job_of(kind: str, chunks: int = 1) -> CreateJob:
    return CreateJob(NewJob(JobSpec("me", f"{kind}-{chunks}", kind, b""), [0] * chunks), "caller")


class Ledgered:
    """A committer and its claims; `on_commit` may be set, to act between a commit and its answers."""

    def __init__(self, ledger: Ledger) -> None:
        self.committer = Committer(ledger.executor, self._committed, bounds=PATIENT)
        self.claims = ClaimQueue(self.committer)
        self.on_commit: Callable[[Commit], None] = lambda _: None

    def _committed(self, commit: Commit) -> None:
        self.claims.wake(commit.ready)
        self.on_commit(commit)

    def begin(self, command: ClaimChunks) -> Task:
        return asyncio.create_task(self.claims.claim(command, 10 * BOUND))

    async def waiting(self, *commands: ClaimChunks) -> list[Task]:
        """Begin claims, and return them once each has looked and found nothing."""
        tasks = [self.begin(command) for command in commands]
        await asyncio.sleep(0)  # all are in the queue
        await self.claims.claim_now(claim("nothing"))
        await asyncio.sleep(0)
        return tasks


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[Ledgered]:
    opened = Ledgered(ledger)
    writer = asyncio.create_task(opened.committer.run())
    try:
        async with asyncio.timeout(BOUND):
            yield opened
            await opened.claims.settle()
    finally:
        opened.committer.close()
        await writer


@pytest.mark.guarantee("3b.5")
async def test_a_claim_in_one_batch_with_the_job_that_feeds_it_gets_the_chunk(ledger: Ledger):
    async with running(ledger) as opened:
        created = asyncio.create_task(opened.committer.submit(create("a")))
        [claimed] = await opened.begin(claim())
        assert claimed.job.spec.job_id == "a"
        await created


@pytest.mark.guarantee("3b.5")
async def test_a_wake_up_of_a_caller_who_left_goes_to_the_next(ledger: Ledger):
    async with running(ledger) as opened:
        first, second = await opened.waiting(claim(), claim())
        opened.on_commit = lambda commit: first.cancel() and None if commit.ready else None
        await opened.committer.submit(create("a"))
        [claimed] = await second
        assert (claimed.job.spec.job_id, claimed.chunk.attempt) == ("a", 1)
        assert first.cancelled()


async def test_a_claim_that_is_woken_by_two_queues_leaves_the_other_wake_up_to_others(ledger: Ledger):
    async with running(ledger) as opened:
        both, other = await opened.waiting(claim("k", "l"), claim("l"))
        await asyncio.gather(opened.committer.submit(job_of("k")), opened.committer.submit(job_of("l")))
        got = [one.job.spec.kind for task in (both, other) for one in await task]
        assert sorted(got) == ["k", "l"]


@pytest.mark.parametrize("owners", [Owners(all=True), Owners(frozenset(["me", "you"]))], ids=["all", "named"])
async def test_a_claim_for_several_owners_is_woken_by_each_and_by_no_other_kind(ledger: Ledger, owners: Owners):
    async with running(ledger) as opened:
        fleet = ClaimChunks("fleet", ("k",), 1, Claim("worker", MINUTE), served=owners)
        other = ClaimChunks("fleet", ("l",), 1, Claim("worker", MINUTE), served=Owners(frozenset(["her"])))
        commits: list[int] = []
        waiting, untouched = await opened.waiting(fleet, other)
        opened.on_commit = lambda commit: commits.append(len(commit.ready))
        await opened.committer.submit(job_of("k"))
        [claimed] = await waiting
        assert claimed.job.spec.owner == "me"
        assert commits == [2, 0], "the claim of others has not looked again"
        untouched.cancel()


async def test_as_many_claims_are_woken_as_there_are_chunks(ledger: Ledger):
    async with running(ledger) as opened:
        tasks = await opened.waiting(*[claim() for _ in range(5)])
        await opened.committer.submit(job_of("k", chunks=5))
        got = [one.chunk.index for task in tasks for one in await task]
        assert sorted(got) == [0, 1, 2, 3, 4]


@pytest.mark.guarantee("3c.5")
async def test_chunks_that_were_claimed_for_a_caller_who_left_are_given_back_and_no_attempt_is_counted(ledger: Ledger):
    async with running(ledger) as opened:
        await opened.committer.submit(job_of("k", chunks=3))
        leaving = opened.begin(claim(limit=3))
        opened.on_commit = lambda _: leaving.cancel() and None
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        opened.on_commit = lambda _: None
        staying = await opened.begin(claim(limit=3))
        assert [(one.chunk.index, one.chunk.attempt) for one in staying] == [(0, 1), (1, 1), (2, 1)]
    wanted = AttemptsWanted("me/k-3", None, "", AttemptPlace(-1, 0), 10)
    attempts = ledger.reads.list_attempts(wanted)
    assert attempts is not None
    assert [(one.chunk_index, one.number, one.outcome) for one in attempts.attempts] == [(n, 1, None) for n in range(3)]
    read = ledger.reads.read_jobs(["me/k-3"], View.BASIC).jobs["me/k-3"]
    assert shown_job(read)[0].chunks_summary.processing == 3


@pytest.mark.guarantee("3c.5")
async def test_a_report_with_a_claim_holds_and_the_next_chunks_of_a_caller_who_left_are_given_back(ledger: Ledger):
    async with running(ledger) as opened:
        await opened.committer.submit(job_of("k", chunks=3))
        [held] = await opened.begin(claim())
        report = CompleteChunks("me", [(held.lease, NOTHING_NEW, NO_RESULTS)])
        leaving = asyncio.create_task(opened.claims.report_and_claim(ReportAndClaim(report, claim(limit=2))))
        opened.on_commit = lambda _: leaving.cancel() and None
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        opened.on_commit = lambda _: None
        staying = await opened.begin(claim(limit=3))
        assert [(one.chunk.index, one.chunk.attempt) for one in staying] == [(1, 1), (2, 1)]


async def test_claims_that_leave_at_any_time_keep_nothing(ledger: Ledger):
    async with running(ledger) as opened:
        await opened.committer.submit(job_of("k", chunks=60))
        for turns in range(20):
            leaving = [opened.begin(claim(limit=3)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            got = [one for task in leaving for one in await _result(task)]
            opened.claims.release(got, Release("answered"))  # what was answered before it could be cancelled
        await opened.claims.settle()
        staying = await opened.begin(claim(limit=60))
        assert {one.chunk.attempt for one in staying} == {1}
        assert len(staying) == 60


async def _result(task: Task) -> list[ClaimedChunk]:
    try:
        return await task
    except asyncio.CancelledError:
        return []


async def abandon(opened: Ledgered, request: ClaimChunks) -> None:
    """Begin a claim whose caller leaves when it is committed."""
    left = opened.begin(request)
    opened.on_commit = lambda commit: left.cancel() and None if commit.touched else None
    assert await _result(left) == []
    opened.on_commit = lambda _: None


async def test_leases_of_a_claim_with_a_request_id_wait_for_its_repetition(ledger: Ledger):
    async with running(ledger) as opened:
        await opened.committer.submit(job_of("k", chunks=3))
        request = ClaimChunks("me", ("k",), 2, Claim("worker", MINUTE), request_id="once")
        await abandon(opened, request)
        repeated, other = await opened.begin(request), await opened.begin(claim(limit=3))
        assert [(one.chunk.index, one.chunk.attempt, one.chunk.fence) for one in repeated] == [(0, 1, 1), (1, 1, 1)]
        assert [one.chunk.index for one in other] == [2]
        await opened.claims.settle()
        again = await opened.begin(request)
        assert [one.lease for one in again] == [one.lease for one in repeated], "what was heard of is not released"


async def test_leases_that_nobody_asks_for_again_are_released_without_an_attempt(ledger: Ledger):
    async with running(ledger) as opened:
        await opened.committer.submit(job_of("k", chunks=2))
        request = ClaimChunks("me", ("k",), 2, Claim("worker", MINUTE), request_id="once")
        await abandon(opened, request)
        await opened.claims.settle()
        for _ in range(2):
            anew = await opened.begin(request)
            assert [(one.chunk.index, one.chunk.attempt, one.chunk.fence) for one in anew] == [(0, 1, 2), (1, 1, 2)]


async def test_leases_that_nothing_extends_are_not_kept_for_a_repetition(ledger: Ledger):
    async with running(ledger) as opened:
        spec = JobSpec("me", "short", "k", b"", attempt_timeout=MINUTE // 2)
        await opened.committer.submit(CreateJob(NewJob(spec, [0]), "caller"))
        request = ClaimChunks("me", ("k",), 1, Claim("worker", MINUTE), request_id="once")
        await abandon(opened, request)
        [anew] = await opened.begin(request)
        assert (anew.chunk.attempt, anew.chunk.fence) == (1, 2)
