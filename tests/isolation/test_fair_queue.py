"""Owners share the writer: each is served in turn, who floods is refused first, and nothing is lost or served twice."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.refusals.limit_errors import QueueFull
from jobledger_service.core.model.work import Claim
from jobledger_service.core.write.commands.workers import ClaimChunks
from jobledger_service.core.write.committer import BATCH_BOUNDS
from jobledger_service.core.write.fair_queue import (
    COMMAND_COST,
    TURN_CREDIT,
    Admission,
    BatchBounds,
    FairQueue,
    QueuedWork,
    Throughput,
)
from jobledger_service.sharing.shares import Shares

from tests.support.examples import at_most

NOBODY = cast("Any", None)
"""Who waits is nothing to the queue."""
BATCH = BatchBounds(commands=20, rows=300, size=1_000_000)


def waiting(owner: str, rows: int = 1, *, reserved: bool = False, size: int = 0, since: float = 0.0) -> QueuedWork:
    return QueuedWork(NOBODY, owner, rows, reserved=reserved, size=size, since=since)


def queue_of(*all_: QueuedWork) -> FairQueue:
    queue = FairQueue(10_000, 1_000_000)
    for one in all_:
        queue.push(one)
    return queue


commands = st.builds(
    waiting,
    st.sampled_from("abcd"),
    st.integers(0, 700),
    reserved=st.booleans(),
    size=st.integers(0, 5_000_000),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), commands),
        st.tuples(st.just("leave"), st.integers(0, 1_000)),
        st.tuples(st.just("take"), st.integers(0, 20)),
    ),
    max_size=200,
)


@given(steps)
def test_no_command_is_lost_and_none_is_served_twice(history: Sequence[tuple[str, Any]]):
    queue, there, served = FairQueue(10_000, 1_000_000), dict[QueuedWork, None](), list[QueuedWork]()
    for step, what in history:
        if step == "push":
            queue.push(what)
            there[what] = None
        elif step == "leave" and there:
            gone = list(there)[what % len(there)]
            queue.remove(gone)
            queue.remove(gone)  # the second time it is nothing to the queue
            del there[gone]
        elif step == "take":
            batch = queue.take(BATCH)
            assert bool(batch) == bool(there)
            assert len(batch) <= 1 or sum(one.rows for one in batch) <= BATCH.rows
            assert len(batch) <= 1 or sum(one.size for one in batch) <= BATCH.size
            assert len(batch) <= BATCH.commands
            done = batch[: what + 1]
            queue.put_back(batch[what + 1 :])
            served += done
            for one in done:
                del there[one]
        assert len(queue) == len(there)
        assert queue.rows == sum(one.rows for one in there)
        assert queue.size == sum(one.size for one in there)
    while queue:
        served += queue.take(BATCH)
    assert len(set(served)) == len(served)
    assert set(there) <= set(served)
    assert (queue.rows, queue.size, queue.owners) == (0, 0, 0)


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize("names", ["kinds", "job_keys"])
def test_a_batch_walks_a_bounded_number_of_kinds_and_jobs_for_claims(names: str):
    by = Claim("w", SECOND)
    claims = [
        ClaimChunks("a", limit=1, by=by, **{"kinds": (), names: tuple(f"{n}.{m}" for m in range(100))})
        for n in range(512)
    ]
    batch = queue_of(*(waiting("a", claim.weight) for claim in claims)).take(BATCH_BOUNDS)
    assert 100 * len(batch) <= BATCH_BOUNDS.rows
    assert ClaimChunks("a", ("k",), 1, by).weight == 1, "a claim of one kind weighs what it may lease"


@given(st.lists(commands, min_size=1, max_size=100))
def test_an_owner_is_served_in_order_and_his_reports_before_all_else(given: list[QueuedWork]):
    queue, served = queue_of(*given), defaultdict[str, list[QueuedWork]](list)
    while queue:
        for one in queue.take(BATCH):
            served[one.owner].append(one)
    for owner, ones in served.items():
        mine = [one for one in given if one.owner == owner]
        assert ones == [one for one in mine if one.reserved] + [one for one in mine if not one.reserved]


@pytest.mark.guarantee("3b.3")
@at_most(25)
@given(st.lists(st.integers(1, 700), min_size=60, max_size=120), st.integers(1, 5))
def test_a_command_waits_for_one_turn_of_each_other_owner_however_much_they_have(rows: list[int], floods: int):
    flood = [waiting(f"flood-{number % floods}", size) for number, size in enumerate(rows)]
    queue = queue_of(*flood)
    queue.take(BATCH)
    mine = waiting("bystander", 100)
    queue.push(mine)
    before = list[QueuedWork]()
    while mine not in before:
        before += queue.take(BATCH)
    used = Counter[str]()
    for one in before[: before.index(mine)]:
        used[one.owner] += one.cost
    assert all(cost <= 2 * TURN_CREDIT + COMMAND_COST + max(rows) for cost in used.values())


@at_most(25)
@given(st.lists(st.integers(1, 700), min_size=40, max_size=100), st.lists(st.integers(1, 700), min_size=40))
def test_owners_who_both_wait_get_the_same(of_a: list[int], of_b: list[int]):
    queue = queue_of(*[waiting("a", rows) for rows in of_a], *[waiting("b", rows) for rows in of_b])
    got = Counter[str]()
    while queue.lane("a") and queue.lane("b"):
        [one] = queue.take(BatchBounds(1, 1, 1))
        got[one.owner] += one.cost
        assert abs(got["a"] - got["b"]) <= 2 * (TURN_CREDIT + COMMAND_COST + max(of_a + of_b))


def test_what_was_postponed_comes_first_and_who_used_more_than_he_reported_passes_turns():
    flood, mine = [waiting("flood") for _ in range(600)], waiting("bystander")
    queue = queue_of(*flood)
    for _ in range(2):  # with more of him waiting, and with all of him taken
        batch = queue.take(BatchBounds(599, 1_000, 1_000))
        queue.push(mine)
        queue.put_back(batch[1:])
        queue.charge("flood", 2 * TURN_CREDIT)
        [first, *others] = queue.take(BatchBounds(5, 300, 1_000))
        assert (first, others) == (mine, batch[1:5])
        queue.put_back(others)


@at_most(20)
@given(st.lists(st.integers(1, 10), min_size=1, max_size=3), st.integers(1_024, 2_000))
def test_when_some_owners_flood_another_one_is_admitted(amounts: list[int], limit: int):
    shares = Shares(limit)
    for amount in (*amounts, 1):  # the largest share that each can get, and then what is left of it
        for number in range(len(amounts)):
            while shares.try_add(f"flood-{number}", amount, reserved=False):
                pass
    assert shares.total < limit
    assert len(amounts) > 1 or shares.total >= 0.74 * limit, "a lone owner may use three quarters"
    assert shares.try_add("bystander", 1, reserved=False)


def test_a_full_queue_has_a_reserve_for_reports_on_held_leases():
    queue = FairQueue(8, 1_000_000)
    while queue.bound_reached(waiting("a")) is None:
        queue.push(waiting("a"))
    assert queue.bound_reached(waiting("a")) == "commands"
    assert queue.bound_reached(waiting("a", reserved=True)) is None
    assert queue.bound_reached(waiting("b")) is None


def test_an_owner_is_refused_by_what_waits_of_him_and_others_are_not():
    queue, throughput = FairQueue(10_000, 1_000_000), Throughput()
    admission = Admission(queue, throughput, max_wait=1.0)
    queue.push(waiting("a", rows=round(throughput.rows_per_second), since=10.0))
    with pytest.raises(QueueFull) as by_share:
        admission.check(waiting("a", since=10.1))
    queue.push(waiting("old", since=8.9))
    with pytest.raises(QueueFull) as by_age:
        admission.check(waiting("old", since=10.0))
    assert (by_share.value.bound, by_age.value.bound) == ("share", "age")
    assert min(by_share.value.wait, by_age.value.wait) >= 1_000_000
    for let_in in (waiting("a", reserved=True), waiting("old", reserved=True), waiting("b", 100_000)):
        admission.check(let_in)


def test_the_pace_is_that_of_full_batches():
    throughput = Throughput()
    before = throughput.rows_per_second
    throughput.record(21, 1.0, more_waited=False)
    assert throughput.rows_per_second == before
    for _ in range(50):
        throughput.record(2_000, 1.0, more_waited=True)
    assert throughput.rows_per_second == pytest.approx(2_000, rel=0.01)
