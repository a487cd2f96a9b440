"""What one commit changes on one job is at most 1 MiB: what is more goes to the next commits, and nothing is lost."""

import re
from typing import Any

import pytest
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.model.chunk import Artifact, WorkError
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.work import NO_RESULTS, NOTHING_NEW, Failure, WorkReport
from jobledger_service.core.write.commands import CompleteChunks, FailChunks, Heartbeat, LeaseStatus, RetryJob
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.working_set import MAX_EVENT_BYTES

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger

pytestmark = pytest.mark.fast

COUNT = 40


def artifacts(count: int, size: int = 2_000) -> dict[str, Artifact]:
    """Return so many artifacts of about so many bytes."""
    return {f"out-{n}": Artifact("s3://bucket/" + "x" * size) for n in range(count)}


def events(ledger: LargeLedger) -> list[WatchJobResponse]:
    """Return what alice's job's watchers are told; each is as small as it must be."""
    messages = [entry.message for commit in ledger.commits for entry in commit.entries if entry.job_key == "alice/big"]
    assert max(map(len, messages)) <= MAX_EVENT_BYTES
    return [WatchJobResponse.FromString(message) for message in messages]


def drained(ledger: LargeLedger, waiting: list[Any]) -> list[Any]:
    """Carry commands out as the committer does, and return their outcomes."""
    done: dict[int, Any] = {}
    left = list(enumerate(waiting))
    while left:
        outcomes = ledger.batch(*(one for _, one in left))
        again = []
        for (place, one), outcome in zip(left, outcomes, strict=True):
            if isinstance(outcome, Postponed):
                again.append((place, outcome.rest or one))
            else:
                done[place] = outcome
        left = again
    return [done[place] for place in range(len(waiting))]


@pytest.mark.guarantee("3b.2")
def test_reports_of_many_workers_are_as_many_commits_as_they_need(ledger: LargeLedger):
    ledger.create("big", [1] * COUNT)
    ledger.create("bystander", [1], BOB)
    claimed = ledger.claim("big", range(COUNT))
    ledger.commits.clear()
    reports = [CompleteChunks(ALICE, [(one.lease, WorkReport(artifacts=artifacts(30)), NO_RESULTS)]) for one in claimed]
    outcomes = drained(ledger, reports)
    assert [answer.status for [answer] in outcomes] == ["OK"] * COUNT
    reported = [chunk.index for message in events(ledger) for chunk in message.chunks]
    assert sorted(reported) == list(range(COUNT))
    assert 3 <= len(ledger.commits) <= 4
    assert ledger.job("big").state is JobState.COMPLETED


def test_one_call_of_many_reports_is_several_commits_with_one_answer(ledger: LargeLedger):
    ledger.create("big", [1] * COUNT)
    claimed = ledger.claim("big", range(COUNT))
    ledger.commits.clear()
    items = [(one.lease, WorkReport(ProgressReport(percent=5), artifacts(30))) for one in claimed]
    answers = ledger.do(Heartbeat(ALICE, items, lease_duration=LEASE))
    assert [answer.chunk and answer.chunk.index for answer in answers] == [one.chunk.index for one in claimed]
    assert {answer.status for answer in answers} == {"OK"}
    assert sorted(chunk.index for message in events(ledger) for chunk in message.chunks) == list(range(COUNT))
    assert len(ledger.commits) > 1
    # What the chunks hold is told again with each change: a small report of all is as large.
    ledger.commits.clear()
    ledger.do(
        Heartbeat(ALICE, [(one.lease, WorkReport(ProgressReport(percent=6))) for one in claimed], lease_duration=LEASE)
    )
    assert len(events(ledger)) > 1
    assert {chunk.progress.done for chunk in ledger.chunks("big").values()} == {60_000}


def test_errors_and_reasons_count_too(ledger: LargeLedger):
    ledger.create("big", [1] * 200)
    claimed = ledger.claim("big", range(200))
    ledger.commits.clear()
    failure = Failure(WorkError("E", "é" * 4_096), 0.5, not_retryable=True)
    failures = [(one.lease, NOTHING_NEW, failure) for one in claimed]
    answers = ledger.do(FailChunks(ALICE, failures))
    assert {answer.status for answer in answers} == {"OK"}
    assert len(events(ledger)) > 1
    assert ledger.job("big").state is JobState.FAILED


def test_a_claim_of_chunks_that_hold_much_gets_fewer(ledger: LargeLedger):
    ledger.create("big", [1] * COUNT)
    claimed = ledger.claim("big", range(COUNT))
    ledger.do(
        Heartbeat(ALICE, [(one.lease, WorkReport(artifacts=artifacts(30))) for one in claimed], lease_duration=LEASE)
    )
    give_up = Failure(WorkError("E"), 0.5, not_retryable=True)
    ledger.do(FailChunks(ALICE, [(one.lease, NOTHING_NEW, give_up) for one in claimed]))
    ledger.do(RetryJob(ALICE, "big", (), "caller"))
    ledger.commits.clear()
    some = ledger.claim_any(COUNT)
    rest = [one for _ in range(3) for one in ledger.claim_any(COUNT)]
    assert 0 < len(some) < COUNT
    assert sorted(one.chunk.index for one in [*some, *rest]) == list(range(COUNT))
    assert events(ledger)


def test_a_report_in_a_later_commit_of_a_call_is_refused_alone(ledger: LargeLedger):
    ledger.create("big", [1] * COUNT)
    claimed = ledger.claim("big", range(COUNT))
    ledger.commits.clear()
    items = [(one.lease, WorkReport(artifacts=artifacts(30))) for n, one in enumerate(claimed)]
    items[-1] = (claimed[-1].lease, WorkReport(artifacts=artifacts(51)))
    *others, refused = ledger.do(Heartbeat(ALICE, items, lease_duration=LEASE))
    assert {answer.status for answer in others} == {LeaseStatus.OK}
    assert isinstance(refused.refusal, InvalidField)
    assert refused.refusal.violations[0][0] == "progress.artifacts"
    assert len(events(ledger)) > 1
    counts = [len(chunk.artifacts) for _, chunk in sorted(ledger.chunks("big").items())]
    assert counts == [30] * (COUNT - 1) + [0]


@pytest.mark.parametrize(("count", "size", "of_job"), [(50, 6_000, False), (100, 6_000, True)])
def test_what_a_job_or_a_chunk_may_hold_is_bounded_so_that_one_report_always_fits(
    ledger: LargeLedger, count: int, size: int, of_job: bool
):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    large = artifacts(count, size)
    too_much = WorkReport(artifacts={} if of_job else large, job_artifacts=large if of_job else {})
    [answer] = ledger.do(Heartbeat(ALICE, [(claimed.lease, too_much)], lease_duration=LEASE))
    assert re.search(r"must make at most .* bytes of artifacts", str(answer.refusal))
    full = WorkReport(artifacts=artifacts(50, 5_000), job_artifacts=artifacts(100, 5_000))
    ledger.commits.clear()
    ledger.do(Heartbeat(ALICE, [(claimed.lease, full)], lease_duration=LEASE))
    assert len(events(ledger)) == 1
