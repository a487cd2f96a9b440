"""Group commit: a command fails for its own caller only, callers that left cost nothing, and the queue has an end."""

import asyncio

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.database.rows.writes import RejectedStatementError
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import Draining, JobAlreadyExists, StoreUnavailable
from jobledger_service.core.model.refusals.limit_errors import QueueFull
from jobledger_service.core.write.commands import CreateJob
from jobledger_service.core.write.committer import Committer
from msgspec.structs import replace

from tests.support.ledger import PATIENT, Ledger, create

pytestmark = pytest.mark.fast

UNKNOWN_TO_THE_STORE = 99
"""A priority that no caller can give; the store's check constraint rejects it."""


def test_a_statement_that_the_database_rejects_fails_its_own_command_alone(ledger: Ledger):
    commands = [create(f"job-{n}", UNKNOWN_TO_THE_STORE if n in (3, 10) else 5) for n in range(16)]
    outcomes, commits = ledger.executor.run(commands)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [3, 10]
    assert all(isinstance(outcomes[n], RejectedStatementError) for n in failed)
    there = ledger.reads.read_jobs([f"me/job-{n}" for n in range(16)], View.BASIC).jobs
    assert sorted(there) == sorted(f"me/job-{n}" for n in range(16) if n not in failed)
    assert ledger.positions() == list(range(1, 15))
    assert [entry.position for commit in commits for entry in commit.entries] == list(range(1, 15))


def test_a_refusal_fails_its_own_caller_and_a_later_command_sees_an_earlier_one(ledger: Ledger):
    outcomes, [commit] = ledger.executor.run([create("a"), create("a", fingerprint=b"other"), create("a"), create("b")])
    (first, created), refused, (again, repeated), (other, _) = outcomes
    assert (created, repeated) == (True, False)
    assert isinstance(refused, JobAlreadyExists)
    assert first == again
    assert [entry.job_key for entry in commit.entries] == ["me/a", "me/b"]
    assert [Job.FromString(one).job_id for one in (first, other)] == ["a", "b"]


async def test_a_caller_that_left_before_its_batch_costs_nothing(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    leaving = asyncio.create_task(committer.submit(create("left")))
    staying = asyncio.create_task(committer.submit(create("stayed")))
    await asyncio.sleep(0)  # both are in the queue
    leaving.cancel()
    running = asyncio.create_task(committer.run())
    job, created = await staying
    committer.close()
    await running
    assert (Job.FromString(job).job_id, created) == ("stayed", True)
    assert [entry.job_key for commit in ledger.commits for entry in commit.entries] == ["me/stayed"]
    assert "me/left" not in ledger.reads.read_jobs(["me/left"], View.BASIC).jobs


async def test_a_full_queue_refuses_and_a_closed_one_drains(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=replace(PATIENT, commands=3))
    waiting = [asyncio.create_task(committer.submit(create(name))) for name in ("a", "b")]
    await asyncio.sleep(0)  # both are in the queue
    with pytest.raises(QueueFull):
        await committer.submit(create("c"))
    committer.close()
    with pytest.raises(Draining):
        await committer.submit(create("d"))
    await committer.run()
    assert [created for _, created in await asyncio.gather(*waiting)] == [True, True]
    assert ledger.positions() == [1, 2]


async def test_commands_that_come_together_are_one_transaction_and_a_heavy_one_ends_it(ledger: Ledger):
    committer = Committer(ledger.executor, ledger.commits.append, bounds=PATIENT)
    heavy = CreateJob(NewJob(JobSpec("me", "heavy", "k", b""), [1] * 10_000), "caller")
    waiting = [asyncio.create_task(committer.submit(c)) for c in (create("a"), create("b"), heavy, create("c"))]
    await asyncio.sleep(0)  # all are in the queue
    committer.close()
    await committer.run()
    await asyncio.gather(*waiting)
    assert [[e.job_key for e in commit.entries] for commit in ledger.commits] == [
        ["me/a", "me/b"],
        ["me/heavy"],
        ["me/c"],
    ]


async def test_a_committer_that_ends_by_an_error_refuses_all_who_wait_or_come_later(ledger: Ledger):
    def fail(_: object) -> None:
        raise RuntimeError("a defect")

    committer = Committer(ledger.executor, fail, bounds=PATIENT)
    heavy = CreateJob(NewJob(JobSpec("me", "heavy", "k", b""), [1] * 10_000), "caller")
    waiting = [asyncio.create_task(committer.submit(one)) for one in (create("a"), create("b"), heavy)]
    await asyncio.sleep(0)  # all are in the queue
    with pytest.raises(RuntimeError, match="a defect"):
        await committer.run()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreUnavailable, StoreUnavailable, Draining]
    with pytest.raises(Draining):
        await committer.run_on_writer(lambda: None)
