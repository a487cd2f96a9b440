"""A limit for each value of a label costs as much as its unfinished jobs, however many values there are."""

import pytest
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.job import JobSpec, job_key
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.model.updates import JobUpdate
from jobledger_service.core.model.work import Claim
from jobledger_service.core.write.commands import CancelJob, ClaimChunks, CreateJob, RetryJob, UpdateJob
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS
from jobledger_service.features.limits.commands import GrantSlots, SetLimit
from jobledger_service.features.limits.store import LimitStore
from jobledger_service.features.limits.tables import limits
from sqlalchemy import func, select

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger

USER = LimitScope(label="user")
STEP = 25


def of_user(job_id: str, user: str, owner: str = ALICE, label: str = "user", chunks: int = 1) -> CreateJob:
    spec = JobSpec(owner, job_id, "k", b"same", limited_labels=(label,))
    return CreateJob(NewJob(spec, [1] * chunks, labels={label: user}), "caller")


def rows(ledger: LargeLedger) -> int:
    with ledger.database.read() as connection:
        return connection.execute(select(func.count()).select_from(limits)).scalar_one()


def numbers(ledger: LargeLedger, owner: str) -> dict[str, int | None]:
    with ledger.database.read() as connection:
        found = select(limits.c.scope, limits.c.max_running).where(limits.c.owner == owner)
        return dict(connection.execute(found).all())


@pytest.mark.guarantee("3b.2")
def test_a_value_has_a_row_while_a_job_uses_it(ledger: LargeLedger):
    for owner in (ALICE, BOB):
        ledger.do(SetLimit(owner, USER, 1))
    ledger.batch(*(of_user(f"first-{n}", f"u{n}") for n in range(10)))
    statements = ledger.statements
    ledger.batch(*(of_user(f"j{n}", f"v{n}") for n in range(200)))
    assert ledger.statements <= statements + 20, "not by each value; SQLite takes rows in parts of a few sizes"
    ledger.do(of_user("bobs", "u1", BOB))
    assert rows(ledger) == 2 + 10 + 200 + 1
    store = LimitStore(ledger.database)
    assert store.trim(1_000) == 0
    ledger.batch(*(CancelJob(ALICE, f"j{n}", Cancellation(0), "caller") for n in range(200)))
    assert [store.trim(150) for _ in range(3)] == [150, 50, 0]
    assert rows(ledger) == 2 + 10 + 1
    ledger.do(of_user("again", "v1"))
    assert [(one.scope, one.running) for one in store.page(BOB, None, 9)[0]] == [("each:user", 0), ("label:user=u1", 1)]
    assert rows(ledger) == 2 + 10 + 1 + 1


@pytest.mark.guarantee("3b.2")
def test_a_number_reaches_the_values_in_bounded_steps_that_continue_on_any_server(ledger: LargeLedger):
    labels = ("use", "user", "users")
    for label in labels:
        ledger.do(SetLimit(ALICE, LimitScope(label=label), 1))
    ledger.do(SetLimit(BOB, USER, 1))
    ledger.do(SetLimit(ALICE, LimitScope(label="user", value="u07"), 4))
    users = [f"u{n:02}" for n in range(60)]
    ledger.batch(*(of_user(f"{user}-{n}", user) for user in users for n in range(2)))
    ledger.batch(*(of_user(label, "u1", label=label) for label in labels), of_user("bobs", "u1", BOB))
    while LimitStore(ledger.database).spread(STEP):
        pass
    ledger.do(SetLimit(ALICE, USER, 2))
    assert LimitStore(ledger.database).free_slots(500) == []
    steps, costs = [], []
    for _ in range(4):
        ledger.statements = 0
        steps.append(LimitStore(ledger.database).spread(STEP))
        costs.append(ledger.statements)
    assert steps == [25, 25, 11, 0], "the values of the one label, of the one owner"
    assert max(costs) <= 6
    assert numbers(ledger, BOB) == {"each:user": 1, "label:user=u1": 1}
    of_alice = numbers(ledger, ALICE)
    assert of_alice.pop("label:user=u07") == 4
    assert {number for scope, number in of_alice.items() if scope.startswith(("label:user=", "each:user"))} >= {2}
    assert {scope for scope, number in of_alice.items() if number == 1} == {
        "each:use",
        "each:users",
        "label:use=u1",
        "label:users=u1",
    }
    waiting = {job_key(ALICE, f"{user}-1") for user in users if user != "u07"}
    found = LimitStore(ledger.database).free_slots(500)
    assert {*found} == waiting
    assert ledger.do(GrantSlots(found)) == (len(waiting), len(waiting))


def test_a_lower_number_holds_at_once_for_values_that_do_not_have_it_yet(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, USER, 2))
    ledger.do(of_user("first", "ann"))
    ledger.do(SetLimit(ALICE, USER, 1))
    ledger.do(of_user("second", "ann"))
    assert numbers(ledger, ALICE) == {"each:user": 1, "label:user=ann": 2}
    assert ledger.job("second").holds[0].scope == LimitScope(label="user", value="ann")
    assert ledger.do(GrantSlots(LimitStore(ledger.database).free_slots(9))) == (0, 1)
    assert [one.max_running for one in LimitStore(ledger.database).page(ALICE, None, 9)[0]] == [1, 1]


@pytest.mark.guarantee("3b.2")
def test_a_claim_parks_as_many_jobs_under_a_pause_as_a_batch_has_room_for(ledger: LargeLedger):
    size = 900
    for n in range(5):
        ledger.do(of_user(f"ann-{n}", "ann", chunks=size))
    ledger.do(of_user("bobs", "bob"))
    ledger.do(SetLimit(ALICE, LimitScope(label="user", value="ann"), 0))
    claim = ClaimChunks(ALICE, ("k",), 5 * size + 1, Claim("w", LEASE))
    ledger.commits.clear()
    parked = []
    for _ in range(3):
        claimed = ledger.do(claim)
        parked.append(sum(bool(ledger.job(f"ann-{n}").parked_for) for n in range(5)))
        assert ledger.commits[-1].rows <= MAX_BATCH_ROWS
        assert [one.job.spec.job_id for one in claimed or ()] == (["bobs"] if len(parked) == 1 else [])
    assert parked == [2, 4, 5]
    assert ledger.do(claim) == []


def test_jobs_of_a_label_that_changed_in_the_same_batch_wait_for_the_next(ledger: LargeLedger):
    ledger.do(SetLimit(ALICE, USER, 1))
    ledger.batch(of_user("anns", "ann"), of_user("bobs", "bob"))
    ledger.do(CancelJob(ALICE, "anns", Cancellation(0), "caller"))
    update = UpdateJob(ALICE, "anns", JobUpdate(frozenset({"labels"}), labels={"user": "bob"}), "caller")
    retry = RetryJob(ALICE, "anns", [], "caller", "", (), b"", "")
    _, postponed = ledger.batch(update, retry)
    ledger.do(postponed.rest or retry)
    assert ledger.job("anns").holds[0].scope == LimitScope(label="user", value="bob")
