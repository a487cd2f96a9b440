"""A claim that shares a commit with the end of a job gets the job that waited for its slot."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Results
from jobledger_service.core.write.commands import ClaimChunks, ClaimedChunk, CompleteChunks, CreateJob, ReportAndClaim
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.features.limits.commands import SetLimit

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger, large_ledger
from tests.support.databases import new_database

KIND = "limited"
HELD_BY = Claim("w", LEASE)


@pytest.fixture
def ledger(store: str, tmp_path: Path) -> Iterator[LargeLedger]:
    with large_ledger(new_database(store, tmp_path)) as opened:
        yield opened


def create(
    ledger: LargeLedger, job_id: str, owner: str = ALICE, chunks: int = 1, priority: int = 0, *labels: str
) -> None:
    """Create a job under the limits of its kind and its labels."""
    spec = JobSpec(owner, job_id, KIND, b"same", limited_labels=labels)
    ledger.do(CreateJob(NewJob(spec, [1] * chunks, priority=priority, labels=dict.fromkeys(labels, "v")), "caller"))


def claim(owner: str = ALICE, limit: int = 10) -> ClaimChunks:
    return ClaimChunks(owner, (KIND,), limit, HELD_BY)


def complete(held: Sequence[ClaimedChunk]) -> CompleteChunks:
    return CompleteChunks(ALICE, [(one.lease, NOTHING_NEW, Results()) for one in held])


def then_claims(ledger: LargeLedger, held: Sequence[ClaimedChunk], limit: int = 10) -> list[ClaimedChunk]:
    """Complete chunks and claim the next ones in one commit."""
    ledger.now += 1
    commits = len(ledger.commits)
    _, claimed = ledger.do(ReportAndClaim(complete(held), claim(limit=limit)))
    assert len(ledger.commits) == commits + 1
    return list(claimed)


def ids(claimed: Sequence[ClaimedChunk]) -> list[str]:
    return [one.job.spec.job_id for one in claimed]


@pytest.mark.guarantee("3c.15")
def test_the_most_urgent_job_that_waits_comes_with_the_completion(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, LimitScope(kind=KIND), 1))
    for job_id, priority in (("first", 0), ("low", 0), ("high", 5)):
        create(ledger, job_id, ALICE, 2, priority)
    held = ledger.do(claim())
    assert ids(held) == ["first", "first"]
    assert ids(then_claims(ledger, held[:1])) == [], "the job has not ended"
    held = then_claims(ledger, held[1:])
    assert ids(held) == ["high"], "the first chunk: the walk over the queue was before"
    held += ledger.do(claim())
    assert ids(held) == ["high", "high"]
    assert ids(then_claims(ledger, held)) == ["low"]
    assert ledger.do(SetLimit(ALICE, LimitScope(kind=KIND), 1)).running == 1
    history = ledger.reads.events(0, 100, job_key=f"{ALICE}/low").rows
    assert len(history) == 2, "created; and then granted and claimed, in one event"


@pytest.mark.guarantee("3c.15")
def test_another_claim_of_the_batch_gets_it_too_and_no_other_owners(ledger: LargeLedger):
    for owner in (ALICE, BOB):
        ledger.do(SetLimit(owner, LimitScope(kind=KIND), 1))
        for job_id in ("first", "second"):
            create(ledger, job_id, owner)
    held = ledger.do(claim())
    ledger.do(claim(BOB))
    _, other, mine = ledger.batch(complete(held), claim(BOB), claim())
    assert (ids(other), ids(mine)) == ([], ["second"])
    assert ledger.job("second", BOB).parked_for


def test_a_job_that_waits_for_two_limits_needs_a_slot_of_both(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, LimitScope(kind=KIND), 1))
    ledger.do(SetLimit(ALICE, LimitScope(label="shop", value="v"), 0))
    create(ledger, "first")
    create(ledger, "both", ALICE, 1, 5, "shop")
    create(ledger, "second")
    held = ledger.do(claim())
    assert ids(held) == ["first"]
    assert ids(then_claims(ledger, held)) == ["second"]
    assert ledger.job("both").parked_for == f"{ALICE}/label:shop=v"


@pytest.mark.guarantee("3c.15")
def test_a_batch_gives_slots_only_as_far_as_it_has_room(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, LimitScope(kind=KIND), 1))
    create(ledger, "first")
    create(ledger, "large", chunks=MAX_BATCH_ROWS)
    create(ledger, "small")
    assert ids(then_claims(ledger, ledger.do(claim()))) == [], "the duty of limits gives the first one its slot"
    assert ledger.job("large").parked_for
    assert ledger.job("small").parked_for, "it comes after"
    assert ledger.commits[-1].rows < 10


def test_it_costs_a_number_of_statements_and_only_where_jobs_have_slots(ledger: LargeLedger):
    counts = {}
    for limited in (False, True):
        if limited:
            ledger.do(SetLimit(ALICE, LimitScope(kind=KIND), 64))
        for number in range(66):
            create(ledger, f"{limited}-{number}")
        held = ledger.do(claim(limit=64))
        for count in (1, 63):
            then_claims(ledger, held[:count], 1)
            counts[limited, count], held = ledger.statements, held[count:]
    assert counts[True, 1] - counts[False, 1] <= 8
    assert counts[True, 63] - counts[False, 63] <= 8, "whatever their number"
