"""A report that came before its lease's end is taken, however long it waited; the lease expires after that."""

from typing import Any

import pytest
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.lifecycle import Cancellation
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.model.work import NO_RESULTS, NOTHING_NEW, Failure, Release, WorkReport
from jobledger_service.core.write.commands import (
    CancelJob,
    ClaimedChunk,
    CompleteChunks,
    ExpireLeases,
    FailChunks,
    Heartbeat,
    LeaseStatus,
    ReleaseChunks,
)
from jobledger_service.core.write.postponed import Postponed

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger

pytestmark = pytest.mark.fast

DELAY = 2_000_000
REPORTS = ["heartbeat", "complete", "fail", "release"]


def report(name: str, one: ClaimedChunk, received: int) -> Any:
    """Return a report of alice's worker that was received at a time."""
    match name:
        case "heartbeat":
            return Heartbeat(ALICE, [(one.lease, WorkReport())], lease_duration=LEASE, received=received)
        case "complete":
            return CompleteChunks(ALICE, [(one.lease, WorkReport(), NO_RESULTS)], received=received)
        case "fail":
            return FailChunks(ALICE, [(one.lease, NOTHING_NEW, Failure(WorkError("E"), 0.5))], received=received)
    return ReleaseChunks(ALICE, [(one.lease, NOTHING_NEW, Release())], received=received)


def expire(ledger: LargeLedger, job_id: str) -> None:
    """Do what the duty does of a job's first chunk."""
    ledger.do(ExpireLeases([((f"{ALICE}/{job_id}", 0), 0.5)], DELAY))


@pytest.mark.guarantee("3c.5")
@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_came_in_time_is_taken_though_it_waited_behind_others_past_the_lease(
    ledger: LargeLedger, name: str
):
    ledger.create("waited", [1], tries=3)
    for n in range(2):
        ledger.create(f"long-{n}", [1] * 3_000, BOB)
    [claimed] = ledger.claim("waited", [0])
    received = ledger.now + LEASE - 1
    ledger.now += LEASE + DELAY - 1  # behind the batches of others
    expire(ledger, "waited")
    late = report(name, claimed, received)
    stop = [CancelJob(BOB, f"long-{n}", Cancellation(0), "caller") for n in range(2)]
    stopped, put_off, [answer] = ledger.batch(*stop, late)
    assert not isinstance(stopped, Exception)
    assert isinstance(put_off, Postponed)
    assert answer.status is LeaseStatus.OK


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_came_at_the_end_of_its_lease_or_later_is_lost(ledger: LargeLedger, name: str):
    ledger.create("late", [1])
    [claimed] = ledger.claim("late", [0])
    ledger.now += LEASE
    [answer] = ledger.do(report(name, claimed, ledger.now))
    assert answer.status is LeaseStatus.LEASE_LOST
    assert ledger.chunks("late")[0].state is ChunkState.PROCESSING


def test_a_lease_expires_when_what_might_have_extended_it_was_let_through_and_nobody_reports_under_it_then(
    ledger: LargeLedger,
):
    ledger.create("silent", [1], tries=2)
    [claimed] = ledger.claim("silent", [0])
    received = ledger.now + LEASE - 1
    ledger.now += LEASE + DELAY - 1
    expire(ledger, "silent")
    assert ledger.chunks("silent")[0].state is ChunkState.PROCESSING
    ledger.now += 1
    expire(ledger, "silent")
    assert ledger.chunks("silent")[0].state is ChunkState.PENDING
    for name in REPORTS:
        [answer] = ledger.do(report(name, claimed, received))
        assert answer.status is LeaseStatus.LEASE_LOST
    assert ledger.chunks("silent")[0].attempt == 1
