"""What is about many jobs goes in steps that are small by the rows of the jobs: others are carried out in between."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsRequest, ImportJobsResponse
from jobledger.v1.job_pb2 import JobState as State
from jobledger.v1.job_service_pb2 import CreateJobRequest
from jobledger_service.core.api.worker_requests import RequestContext
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import JobSpec, job_key
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.updates import JobUpdate
from jobledger_service.core.model.work import NOTHING_NEW, Failure
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.commands import (
    CancelJob,
    CreateJob,
    EndOverdue,
    ExpireLeases,
    FailChunks,
    RemoveExpired,
    UpdateJob,
)
from jobledger_service.core.write.committer import Committer
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.features.imports.api import ImportService
from jobledger_service.features.limits.commands import GrantSlots, SetLimit
from jobledger_service.transport.identity import Caller, Role

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger
from tests.support.bounds import BOUND
from tests.support.ledger import PATIENT

SIZE = 900
"""Chunks of a job: two such jobs have room in one transaction, three have not."""
GIVE_UP = Failure(WorkError("BROKEN"), 0.5, not_retryable=True)


def keys(count: int) -> list[str]:
    return [job_key(ALICE, f"job-{n}") for n in range(count)]


def steps(ledger: LargeLedger, make: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> list[int]:
    """Carry a command out as its duty does, again for what it did not come to; return how far each step came."""
    done = []
    while items:
        done.append(ledger.do(make(items)))
        assert ledger.commits[-1].rows <= MAX_BATCH_ROWS
        items = items[done[-1] :]
    return done


def test_retention_deletes_as_many_jobs_at_once_as_have_few_rows(ledger: LargeLedger):
    for n in range(5):
        ledger.create(f"job-{n}", [1] * SIZE)
        ledger.do(CancelJob(ALICE, f"job-{n}", Cancellation(0), "caller"))
        update = JobUpdate(frozenset({"expire_time"}), expire_time=ledger.now)
        ledger.do(UpdateJob(ALICE, f"job-{n}", update, "caller"))
    kept = ledger.create("kept", [1] * SIZE, BOB)
    assert steps(ledger, RemoveExpired, [*keys(5), kept.key]) == [2, 2, 2]
    assert ledger.reads.read_jobs(keys(5), View.BASIC).jobs == {}
    assert ledger.job("kept", BOB) == kept


def test_grace_periods_end_for_as_many_jobs_at_once_as_have_few_rows(ledger: LargeLedger):
    for n in range(3):
        ledger.create(f"job-{n}", [1] * SIZE)
        for begin in range(0, SIZE, 300):
            ledger.claim(f"job-{n}", range(begin, begin + 300))
        ledger.do(CancelJob(ALICE, f"job-{n}", Cancellation(0), "caller"))
    assert steps(ledger, lambda some: EndOverdue(some, 0), keys(3)) == [2, 1]
    assert [ledger.job(f"job-{n}").state for n in range(3)] == [JobState.CANCELLED] * 3


def test_leases_that_end_and_stop_their_jobs_do_so_for_as_many_jobs_at_once_as_have_few_rows(ledger: LargeLedger):
    for n in range(3):
        ledger.create(f"job-{n}", [1] * SIZE, fast=True)
        ledger.claim(f"job-{n}", [0])
    ledger.now += LEASE
    leases = [((key, 0), 0.5) for key in keys(3)]
    assert steps(ledger, ExpireLeases, leases) == [2, 1]
    assert [ledger.job(f"job-{n}").counts.cancelled for n in range(3)] == [SIZE - 1] * 3


def test_a_call_that_fails_chunks_of_many_jobs_stops_them_in_several_commits_and_answers_once(ledger: LargeLedger):
    leases = []
    for n in range(5):
        ledger.create(f"job-{n}", [1] * SIZE, fast=True)
        leases += [one.lease for one in ledger.claim(f"job-{n}", [n])]
    ledger.commits.clear()
    answers = ledger.do(FailChunks(ALICE, [(lease, NOTHING_NEW, GIVE_UP) for lease in leases]))
    assert [answer.chunk and answer.chunk.index for answer in answers] == list(range(5))
    assert {answer.status for answer in answers} == {"OK"}
    assert [len(commit.entries) for commit in ledger.commits] == [2, 2, 1]
    assert all(commit.rows <= MAX_BATCH_ROWS for commit in ledger.commits)
    assert [ledger.job(f"job-{n}").state for n in range(5)] == [JobState.FAILED] * 5


def test_slots_are_granted_to_as_many_jobs_at_once_as_have_few_rows(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, LimitScope(kind="k"), 0))
    for n in range(5):
        ledger.create(f"job-{n}", [1] * SIZE)
        assert ledger.job(f"job-{n}").parked_for
    ledger.do(SetLimit(ALICE, LimitScope(kind="k"), None))
    rows = []
    left = keys(5)
    while left:
        granted, done = ledger.do(GrantSlots(left))
        assert granted == done > 0
        rows.append(ledger.commits[-1].rows)
        left = left[done:]
    assert [count // SIZE for count in rows] == [2, 2, 1]
    assert max(rows) <= MAX_BATCH_ROWS
    assert not any(ledger.job(f"job-{n}").parked_for for n in range(5))


def imported(job_id: str) -> ImportedJob:
    """Return a job of 900 chunks that was done elsewhere."""
    job = CreateJobRequest(job_id=job_id, kind="k", item_count=SIZE, chunk_size=1)
    create, start, end = (Timestamp(seconds=seconds) for seconds in (100, 150, 200))
    return ImportedJob(job=job, state=State.JOB_STATE_COMPLETED, create_time=create, start_time=start, end_time=end)


async def test_an_import_goes_in_steps_another_owner_lands_between_them_and_a_repeat_changes_nothing(
    ledger: LargeLedger,
):
    begun = asyncio.Event()

    def committed(commit: Commit) -> None:
        ledger.commits.append(commit)
        begun.set()

    committer = Committer(ledger.executor, committed, bounds=PATIENT)
    running = asyncio.create_task(committer.run())
    context = RequestContext(lambda: ledger.now, lambda: 0.5, (), ledger.reads.epoch)
    service = ImportService(committer, context, lambda: str(uuid4()))

    async def requests() -> AsyncIterator[ImportJobsRequest]:
        yield ImportJobsRequest(jobs=[imported(f"job-{n}") for n in range(7)])

    async def bystand() -> None:
        async with asyncio.timeout(BOUND):
            await begun.wait()
        await committer.submit(CreateJob(NewJob(JobSpec(BOB, "bystander", "k", b"same"), [1]), "caller"))

    caller = Caller(owner=ALICE, name="caller", roles=frozenset({Role.ADMIN}))
    answer, _ = await asyncio.gather(service.ImportJobs(requests(), caller), bystand())
    again = await service.ImportJobs(requests(), caller)
    committer.close()
    await running
    assert answer == ImportJobsResponse(imported=7)
    assert again == ImportJobsResponse(unchanged=7)
    assert all(commit.rows <= MAX_BATCH_ROWS for commit in ledger.commits)
    order = [entry.job_key for commit in ledger.commits for entry in commit.entries]
    assert order.index("bob/bystander") < order.index("alice/job-6")
    assert sorted(order) == sorted([*keys(7), "bob/bystander"])
