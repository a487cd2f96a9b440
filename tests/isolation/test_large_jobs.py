"""A job of 10,000 chunks costs its verbs a few statements, its watchers a few bytes, and the others one transaction."""

from collections.abc import Callable
from typing import Any

import pytest
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.model.updates import JobUpdate
from jobledger_service.core.model.work import NOTHING_NEW, Failure
from jobledger_service.core.write.commands import CancelJob, CreateJob, DeleteJob, FailChunks, RetryJob, UpdateJob
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS, MAX_EVENT_BYTES

from tests.isolation.large_jobs import ALICE, BOB, LargeLedger

GIVE_UP = Failure(WorkError("BROKEN"), 0.5, not_retryable=True)
Verb = Callable[[LargeLedger, str], Any]


def cancelled(ledger: LargeLedger, job_id: str, *, force: bool = False) -> Any:
    return ledger.do(CancelJob(ALICE, job_id, Cancellation(0, force=force), "caller"))


def retried(ledger: LargeLedger, job_id: str) -> Any:
    return ledger.do(RetryJob(ALICE, job_id, (), "caller"))


def made_urgent(ledger: LargeLedger, job_id: str) -> Any:
    return ledger.do(UpdateJob(ALICE, job_id, JobUpdate(frozenset({"priority"}), priority=9), "caller"))


def deleted(ledger: LargeLedger, job_id: str) -> Any:
    return ledger.do(DeleteJob(ALICE, job_id, "caller", force=True))


def creating(job_id: str) -> CreateJob:
    """Return the command that creates one of bob's jobs."""
    return CreateJob(NewJob(JobSpec(BOB, job_id, "k", b"same"), [1]), "caller")


def failed_fast(ledger: LargeLedger, job_id: str) -> Any:
    [claimed] = ledger.claim(job_id, [7])
    answer = ledger.do(FailChunks(ALICE, [(claimed.lease, NOTHING_NEW, GIVE_UP)]))
    job = ledger.job(job_id)
    assert (job.state, job.counts.cancelled) == (JobState.FAILED, job.counts.total - 1)
    return answer


def stopped_in_work(ledger: LargeLedger, job_id: str) -> Any:
    assert len(ledger.claim(job_id, range(60))) == 60
    answer = cancelled(ledger, job_id, force=True)
    job = ledger.job(job_id)
    assert job.counts.cancelled == job.counts.total
    return answer


def cost(ledger: LargeLedger, verb: Verb, job_id: str) -> tuple[int, int]:
    """Return how many statements a verb takes in its last transaction, and how many bytes its event has."""
    verb(ledger, job_id)
    return ledger.statements, len(ledger.last_event())


def test_a_verb_takes_as_many_statements_and_bytes_for_ten_thousand_chunks_as_for_a_hundred(ledger: LargeLedger):
    verbs = [made_urgent, cancelled, retried, failed_fast, retried, stopped_in_work, deleted]
    costs = {}
    bystander = ledger.create("bystander", [1] * 60, BOB)
    for count in (100, 10_000):
        job_id = f"job-of-{count:05}"
        ledger.create(job_id, [1] * count, fast=True)
        costs[count] = [cost(ledger, verb, job_id) for verb in verbs]
    assert [statements for statements, _ in costs[10_000]] == [statements for statements, _ in costs[100]]
    assert all(size < 1_000 for _, size in costs[10_000])
    assert ledger.job("bystander", BOB) == bystander


def test_the_event_of_chunks_that_moved_here_and_there_is_small_and_reports_each(ledger: LargeLedger):
    ledger.create("gaps", [1] * 2_000)
    claimed = [one for begin in (0, 1_000) for one in ledger.claim("gaps", range(begin, begin + 1_000, 2))]
    cancelled(ledger, "gaps")
    message = WatchJobResponse.FromString(ledger.last_event())
    reason_text = {n for run in message.chunk_ranges for n in range(run.first_index, run.last_index + 1)}
    assert reason_text == set(range(2_000)) - {one.chunk.index for one in claimed}
    assert len(ledger.last_event()) < MAX_EVENT_BYTES // 50
    assert {chunk.state for chunk in ledger.chunks("gaps").values() if chunk.index in reason_text} == {
        ChunkState.CANCELLED
    }


@pytest.mark.guarantee("3b.2")
def test_a_transaction_has_one_large_verb_at_most_and_another_owner_does_not_wait_for_the_next(ledger: LargeLedger):
    for n in range(25):
        ledger.create(f"large-{n:02}", [1] * 2_500)
    ledger.commits.clear()
    large = [CancelJob(ALICE, f"large-{n:02}", Cancellation(0), "caller") for n in range(25)]
    waiting: list[Any] = [*large, *(creating(f"small-{n}") for n in range(3))]
    while waiting:
        outcomes = ledger.batch(*waiting)
        assert not any(isinstance(outcome, Exception) and not isinstance(outcome, Postponed) for outcome in outcomes)
        waiting = [one for one, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, Postponed)]
    carried_out = [[entry.job_key for entry in commit.entries] for commit in ledger.commits]
    assert carried_out[0] == ["alice/large-00", "bob/small-0", "bob/small-1", "bob/small-2"]
    assert carried_out[1:] == [[f"alice/large-{n:02}"] for n in range(1, 25)]
    assert max(commit.rows for commit in ledger.commits) <= MAX_BATCH_ROWS + 2_501


@pytest.mark.guarantee("3b.2")
def test_a_batch_is_bounded_by_the_rows_that_its_jobs_have_when_they_are_loaded(ledger: LargeLedger):
    for n in range(40):
        ledger.create(f"middling-{n:02}", [1] * 300)
    ledger.commits.clear()
    waiting: list[Any] = [CancelJob(ALICE, f"middling-{n:02}", Cancellation(0), "caller") for n in range(40)]
    while waiting:
        outcomes = ledger.batch(*waiting)
        waiting = [one for one, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, Postponed)]
    assert [commit.rows for commit in ledger.commits] == [6 * 301] * 6 + [4 * 301]
    assert all(commit.rows <= MAX_BATCH_ROWS for commit in ledger.commits)
    assert ledger.job("middling-39").state is JobState.CANCELLED
