"""The ends of attempts and of runs are strict by the ledger's clock, and ending many takes bounded batches."""

import pytest
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.model.work import NO_RESULTS, WorkReport
from jobledger_service.core.write.commands import (
    CompleteChunks,
    EndOverdue,
    ExpireLeases,
    Heartbeat,
    LeaseStatus,
    RetryJob,
)
from jobledger_service.core.write.postponed import Postponed

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger

pytestmark = pytest.mark.fast

DELAY = 2_000_000
LIMIT = 90_000_000
"""Of attempts and of runs: longer than a lease."""


def do_duty(ledger: LargeLedger) -> None:
    """Do what the duty of leases does of leases and of deadlines, once."""
    expired = ledger.reads.expired_leases(ledger.now - DELAY, 500)
    ledger.do(ExpireLeases([(key, 0.5) for key in expired], DELAY))
    ledger.do(EndOverdue(ledger.reads.overdue_jobs(ledger.now, ledger.now - DELAY, 500), DELAY))


def beat(ledger: LargeLedger, lease: object, duration: int | None = None) -> LeaseStatus:
    [answer] = ledger.do(Heartbeat(ALICE, [(lease, WorkReport())], lease_duration=duration))
    return answer.status


def complete(ledger: LargeLedger, lease: object, received: int) -> LeaseStatus:
    [answer] = ledger.do(CompleteChunks(ALICE, [(lease, WorkReport(), NO_RESULTS)], received=received))
    return answer.status


def error_of(one: Job | Chunk) -> str:
    assert one.error is not None
    return one.error.code


@pytest.mark.guarantee("3c.8")
@pytest.mark.parametrize("limit", ["attempt_timeout", "run_timeout"])
def test_a_completion_that_came_before_the_end_is_taken_and_a_later_one_is_lost_though_nothing_has_ended_it(
    ledger: LargeLedger, limit: str
):
    begin = ledger.now
    for job_id in ("in time", "late"):
        ledger.create(job_id, [1], **{limit: LIMIT})
    leases = {one.job.spec.job_id: one.lease for name in ("in time", "late") for one in ledger.claim(name, [0])}
    ledger.now = begin + LEASE - 1
    assert {beat(ledger, lease, 2 * LEASE) for lease in leases.values()} == {LeaseStatus.OK}
    end = begin + LIMIT
    ledger.now = end + DELAY - 1
    do_duty(ledger)
    assert ledger.job("late").state is JobState.RUNNING
    assert complete(ledger, leases["in time"], end - 1) is LeaseStatus.OK
    assert complete(ledger, leases["late"], end) is LeaseStatus.LEASE_LOST
    assert beat(ledger, leases["late"]) is LeaseStatus.LEASE_LOST
    ledger.now += 1
    do_duty(ledger)
    assert (ledger.job("in time").state, ledger.job("late").state) == (JobState.COMPLETED, JobState.FAILED)
    assert error_of(ledger.job("late")) == "TIMED_OUT"
    assert complete(ledger, leases["late"], end - 1) is LeaseStatus.LEASE_LOST


def test_attempts_that_take_too_long_are_tried_again_until_the_last_and_silent_workers_are_told_apart(
    ledger: LargeLedger,
):
    ledger.create("hangs", [1, 1], tries=2, attempt_timeout=LIMIT)
    for attempt in (1, 2):
        hanging, silent = ledger.claim("hangs", [0, 1])
        ledger.now += LEASE - 1
        beat(ledger, hanging.lease)
        ledger.now += 1 + DELAY
        do_duty(ledger)
        assert error_of(ledger.chunks("hangs")[silent.chunk.index]) == "LEASE_EXPIRED"
        assert ledger.chunks("hangs")[0].state is ChunkState.PROCESSING
        ledger.now += LIMIT - LEASE
        do_duty(ledger)
        chunk = ledger.chunks("hangs")[0]
        assert (chunk.attempt, error_of(chunk)) == (attempt, "TIMED_OUT")
        ledger.now += LEASE  # longer than the backoff
    assert [one.state for one in ledger.chunks("hangs").values()] == [ChunkState.FAILED] * 2


@pytest.mark.guarantee("3b.2")
def test_ending_many_runs_takes_batches_bounded_by_rows_and_leaves_other_owners_alone(ledger: LargeLedger):
    bystander = ledger.create("other", [1], BOB, run_timeout=10 * LIMIT)
    for n in range(3):
        ledger.create(f"large-{n}", [1] * 900, run_timeout=LIMIT)
        ledger.claim(f"large-{n}", [0, 1])
    ledger.create("small", [1], run_timeout=LIMIT + 1)
    ledger.claim("small", [0])
    ledger.now += LIMIT + DELAY
    due = ledger.reads.overdue_jobs(ledger.now, ledger.now - DELAY, 500)
    assert sorted(due) == [f"{ALICE}/large-{n}" for n in range(3)]
    done = 0
    for _ in range(2):
        [count] = ledger.batch(EndOverdue(due[done:], DELAY))
        assert not isinstance(count, Postponed)
        assert ledger.statements < 40
        done += count
    assert done == 3
    for n in range(3):
        job = ledger.job(f"large-{n}")
        assert (job.state, error_of(job), job.counts.cancelled) == (JobState.FAILED, "TIMED_OUT", 900)
        assert {one.state for one in ledger.chunks(f"large-{n}").values()} == {ChunkState.CANCELLED}
    assert ledger.job("small").state is JobState.RUNNING
    assert ledger.job("other", BOB) == bystander


def test_a_run_begins_with_its_first_claim_and_again_with_a_retry(ledger: LargeLedger):
    ledger.create("again", [1], run_timeout=LIMIT)
    ledger.now += 5 * LIMIT
    do_duty(ledger)
    for run in range(2):
        assert (ledger.job("again").state, ledger.job("again").retry_count) == (JobState.QUEUED, run)
        [one] = ledger.claim("again", [0])
        assert ledger.job("again").deadline == ledger.now + LIMIT
        ledger.now += LEASE - 1
        assert beat(ledger, one.lease) is LeaseStatus.OK
        ledger.now += LIMIT - LEASE + DELAY
        do_duty(ledger)
        assert ledger.job("again").state is JobState.RUNNING
        ledger.now += 1
        do_duty(ledger)
        assert (ledger.job("again").state, ledger.job("again").deadline) == (JobState.FAILED, None)
        assert complete(ledger, one.lease, ledger.now - DELAY - 2) is LeaseStatus.LEASE_LOST
        ledger.do(RetryJob(ALICE, "again", [], "caller"))
        ledger.now += 5 * LIMIT
        do_duty(ledger)
