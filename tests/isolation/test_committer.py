"""The writer serves owners in turn, whatever they ask for, and begins nothing that nobody waits for."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jobledger_service.core.current_call import CurrentCall, DeadlinePassedError, current_call
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.limit_errors import QueueFull
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.commands import CreateJob, Heartbeat
from jobledger_service.core.write.committer import BATCH_BOUNDS, UPKEEP_ROWS, Committer
from msgspec.structs import replace

from tests.support.bounds import BOUND
from tests.support.ledger import PATIENT, Ledger

pytestmark = pytest.mark.fast


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_call() -> Iterator[None]:
    """Let what a test says of its call end with the test."""
    token = current_call.set(CurrentCall())
    yield
    current_call.reset(token)


def create(owner: str, job_id: str, chunks: int = 1) -> CreateJob:
    return CreateJob(NewJob(JobSpec(owner, job_id, "k", b""), [1] * chunks), "caller")


def owners_of(commit: Commit) -> list[str]:
    return [entry.job_key.partition("/")[0] for entry in commit.entries]


async def queued(committer: Committer, count: int) -> None:
    """Let the tasks run that submit so many."""
    await asyncio.sleep(0)
    assert committer.queued == count


async def test_an_owner_who_floods_is_served_in_turn_with_another_one(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    flood = [asyncio.create_task(committer.submit(create("flood", f"job-{n}", 100))) for n in range(60)]
    mine = asyncio.create_task(committer.submit(create("bystander", "mine", 100)))
    await queued(committer, 61)
    committer.close()
    await committer.run()
    await asyncio.gather(mine, *flood)
    assert "bystander" in owners_of(ledger.commits[0]), "one turn of the other owner comes before it"
    assert all(len(commit.entries) <= BATCH_BOUNDS.rows / 100 for commit in ledger.commits)
    assert [owner for commit in ledger.commits for owner in owners_of(commit)].count("flood") == 60


@pytest.mark.guarantee("3b.3")
async def test_what_is_done_for_another_owner_waits_in_its_callers_turn_and_not_in_the_owners_flood(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    current_call.set(CurrentCall("flood"))
    flood = [asyncio.create_task(committer.submit(create("flood", f"job-{n}", 100))) for n in range(60)]
    current_call.set(CurrentCall("operations"))
    acting = asyncio.create_task(committer.submit(create("flood", "by an operator", 100)))
    await queued(committer, 61)
    committer.close()
    await committer.run()
    await asyncio.gather(acting, *flood)
    first = [entry.job_key for entry in ledger.commits[0].entries]
    assert "flood/by an operator" in first
    assert len(first) < 60, "of one turn each, not after all that the flood has waiting"


async def test_upkeep_waits_in_its_callers_queue_and_a_flood_of_it_delays_nobody(ledger: Ledger):
    done: list[str] = []

    def committed(_: Commit) -> None:
        done.append("mine")

    committer = Committer(ledger.executor, committed, bounds=PATIENT)
    current_call.set(CurrentCall("flood"))
    flood = [asyncio.create_task(committer.run_on_writer(lambda: done.append("flood"))) for _ in range(200)]
    current_call.set(CurrentCall("bystander"))
    mine = asyncio.create_task(committer.submit(create("bystander", "mine")))
    await queued(committer, 201)
    committer.close()
    await committer.run()
    await asyncio.gather(mine, *flood)
    assert done.index("mine") <= BATCH_BOUNDS.rows / UPKEEP_ROWS
    assert done.count("flood") == 200


async def test_upkeep_that_fails_fails_for_its_caller_alone(ledger: Ledger):
    def fail() -> None:
        raise LookupError("this one")

    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    failing = asyncio.create_task(committer.run_on_writer(fail))
    other = asyncio.create_task(committer.run_on_writer(lambda: "done"))
    await queued(committer, 2)
    committer.close()
    await committer.run()
    with pytest.raises(LookupError):
        await failing
    assert await other == "done"


async def test_a_flood_of_upkeep_is_refused_and_other_owners_are_not(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=replace(PATIENT, commands=20))
    current_call.set(CurrentCall("flood"))
    flood = [asyncio.create_task(committer.run_on_writer(lambda: True)) for _ in range(50)]
    await asyncio.sleep(0)  # all have been let in, or refused
    current_call.set(CurrentCall("bystander"))
    mine = asyncio.create_task(committer.run_on_writer(lambda: True))
    await asyncio.sleep(0)
    committer.close()
    await committer.run()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(answer) for answer in answers} == {bool, QueueFull}
    assert await mine


@pytest.mark.guarantee("3b.5")
@pytest.mark.parametrize(("stall", "is_stopped"), [(0.0, True), (1_000.0, False)])
async def test_a_batch_that_runs_for_too_long_is_one_that_the_database_does_not_answer(
    ledger: Ledger, stall: float, is_stopped: bool
):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=replace(PATIENT, stall=stall))
    begun, answered = threading.Event(), threading.Event()

    def write() -> bool:
        begun.set()
        return answered.wait(BOUND)

    running = asyncio.create_task(committer.run())
    writing = asyncio.create_task(committer.run_on_writer(write))
    await asyncio.to_thread(begun.wait, BOUND)
    assert committer.is_stopped is is_stopped
    answered.set()
    assert await writing
    committer.close()
    await running
    assert not committer.is_stopped


@pytest.mark.guarantee("3b.3")
async def test_a_report_on_a_held_lease_goes_before_what_its_owner_creates_and_is_admitted_when_that_is_not(
    ledger: Ledger,
):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=replace(PATIENT, commands=8))
    creating = [asyncio.create_task(committer.submit(create("a", f"job-{n}", BATCH_BOUNDS.rows))) for n in range(20)]
    await asyncio.sleep(0)  # as many wait as may
    with pytest.raises(QueueFull):
        await committer.submit(create("a", "one more"))
    ended: list[str] = []
    report = asyncio.create_task(committer.submit(Heartbeat("a", [], lease_duration=1_000_000)))
    report.add_done_callback(lambda _: ended.append("report"))
    creating[0].add_done_callback(lambda _: ended.append("create"))
    await asyncio.sleep(0)
    committer.close()
    await committer.run()
    answers = await asyncio.gather(report, *creating, return_exceptions=True)
    assert answers[0] == []
    assert ended == ["report", "create"]


async def test_a_command_whose_deadline_is_over_is_not_begun(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    current_call.set(CurrentCall("a", deadline=asyncio.get_running_loop().time()))
    late = asyncio.create_task(committer.submit(create("a", "late")))
    current_call.set(CurrentCall("a"))
    in_time = asyncio.create_task(committer.submit(create("a", "in-time")))
    await queued(committer, 2)
    committer.close()
    await committer.run()
    with pytest.raises(DeadlinePassedError):
        await late
    await in_time
    assert [entry.job_key for commit in ledger.commits for entry in commit.entries] == ["a/in-time"]


async def test_a_caller_that_leaves_is_out_of_the_queue_and_its_sums_at_once(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    current_call.set(CurrentCall("a", size=1_000))
    tasks = [asyncio.create_task(committer.submit(create("a", f"job-{n}"))) for n in range(3)]
    await queued(committer, 3)
    assert committer.queued_bytes == 3_000
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    assert (committer.queued, committer.queued_bytes) == (2, 2_000)
    committer.close()
    await committer.run()
    await asyncio.gather(tasks[0], tasks[2])
    assert [entry.job_key for commit in ledger.commits for entry in commit.entries] == ["a/job-0", "a/job-2"]
