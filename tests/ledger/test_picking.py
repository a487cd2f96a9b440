"""Claims of one batch get the most urgent chunks, each one once, and look at no more than they want together."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.rows.writes import WaitingChunk
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.write.fleet_turns import MAX_FLEETS, MAX_TURNS, FleetQueues, FleetTurns
from jobledger_service.core.write.picking import FIRST_FETCH, ClaimQuery, pick
from jobledger_service.core.write.ready_owners import ReadyOwner, ReadyOwnersQuery

KINDS = ("a", "b", "c")


class Waiting:
    """Chunks that wait, in memory; counts how many were looked at."""

    def __init__(self, chunks: Mapping[Queue, Sequence[WaitingChunk]], held: Collection[str] = ()) -> None:
        self._chunks = {queue: sorted(some) for queue, some in chunks.items()}
        self._held = held
        self.looked_at = 0

    def fetch(self, wanted: Mapping[Queue, int]) -> dict[Queue, list[WaitingChunk]]:
        found = {queue: self._chunks.get(queue, [])[:limit] for queue, limit in wanted.items()}
        self.looked_at += sum(map(len, found.values()))
        return found

    def lock_free(self, keys: Collection[str]) -> set[str]:
        return set(keys) - set(self._held)


def chunks_of(kind: str, priorities: Sequence[int], per_job: int = 3) -> list[WaitingChunk]:
    return [
        WaitingChunk(-priority, n // per_job, f"{kind}-{n // per_job}", n % per_job)
        for n, priority in enumerate(priorities)
    ]


queues = st.fixed_dictionaries({kind: st.lists(st.integers(0, 10), max_size=60) for kind in KINDS}).map(
    lambda drawn: {("me", kind): chunks_of(kind, priorities) for kind, priorities in drawn.items()}
)
demands = st.lists(
    st.builds(
        ClaimQuery,
        st.just("me"),
        st.sets(st.sampled_from(KINDS), min_size=1).map(sorted).map(tuple),
        st.integers(1, 40),
    ),
    max_size=8,
)


@given(queues, demands)
def test_each_claim_in_turn_gets_the_most_urgent_of_what_is_left(
    chunks: Mapping[Queue, Sequence[WaitingChunk]], wanted: Sequence[ClaimQuery]
):
    waiting = Waiting(chunks)
    left = {queue: sorted(some) for queue, some in chunks.items()}
    for query, picked in zip(wanted, pick(wanted, waiting.fetch, waiting.lock_free, shared=False), strict=True):
        best = sorted(chunk for queue in query.queues for chunk in left[queue])[: query.limit]
        assert picked.chunks == [chunk.key for chunk in best]
        assert not picked.contended
        left = {queue: [chunk for chunk in some if chunk not in best] for queue, some in left.items()}


@given(queues, demands, st.data())
def test_jobs_that_others_hold_are_passed_over(
    chunks: Mapping[Queue, Sequence[WaitingChunk]], wanted: Sequence[ClaimQuery], data: st.DataObject
):
    jobs = sorted({chunk.job_key for some in chunks.values() for chunk in some})
    held = set(data.draw(st.lists(st.sampled_from(jobs), unique=True))) if jobs else set()
    waiting = Waiting(chunks, held)
    found = pick(wanted, waiting.fetch, waiting.lock_free, shared=True)
    taken = Counter(key for picked in found for key in picked.chunks)
    assert set(taken.values()) <= {1}
    assert not {job_key for job_key, _ in taken} & held
    for query, picked in zip(wanted, found, strict=True):
        free = [c.key for queue in query.queues for c in chunks[queue] if c.job_key not in held and c.key not in taken]
        assert len(picked.chunks) == query.limit or not free


@pytest.mark.guarantee("3b.2")
def test_what_is_examined_grows_with_the_limits_and_not_with_their_square():
    kinds = [f"k{n}" for n in range(60)]
    chunks = {("me", kind): chunks_of(kind, [5] * 1_500, per_job=1) for kind in (*kinds, "common")}
    for others in ((), ("common",)):
        waiting = Waiting(chunks)
        wanted = [ClaimQuery("me", (kind, *others), 50) for kind in kinds]
        found = pick(wanted, waiting.fetch, waiting.lock_free, shared=True)
        assert [len(picked.chunks) for picked in found] == [50] * 60
        assert waiting.looked_at <= 60 * FIRST_FETCH + 2 * 60 * 50


def test_owners_take_turns_within_a_priority_and_over_all_claims_of_a_batch():
    of_owner = {
        "alice": [WaitingChunk(-5, 0, "alice/a", index) for index in range(50)],
        "bob": [WaitingChunk(-5, 1, "bob/b", index) for index in range(2)],
        "carol": [WaitingChunk(-7, 1, "carol/c", 0), WaitingChunk(-5, 1, "carol/d", 0)],
    }
    waiting = Waiting({(owner, "k"): some for owner, some in of_owner.items()})
    query = ClaimQuery("fleet", ("k",), 2, owners=Owners(all=True))
    order = {(7, "carol"): 0, (5, "bob"): 1, (5, "alice"): 2, (5, "carol"): 3}
    turns = FleetQueues([(owner, "k") for owner in of_owner], order, {})
    assert query.fleet is not None
    found = pick([query] * 4, waiting.fetch, waiting.lock_free, shared=False, turns={query.fleet: turns})
    owners = [[key.partition("/")[0] for key, _ in picked.chunks] for picked in found]
    assert owners == [["carol", "bob"], ["alice", "carol"], ["bob", "alice"], ["alice", "alice"]]
    assert turns.last == {7: "carol", 5: "alice"}


def test_turns_continue_after_the_owner_who_had_the_last_and_fleets_are_forgotten():
    seen: list[ReadyOwnersQuery] = []

    def find(query: ReadyOwnersQuery) -> list[ReadyOwner]:
        seen.append(query)
        return [ReadyOwner(5, "b", "k"), ReadyOwner(5, "a", "k"), ReadyOwner(4, "b", "k")]

    turns, fleet = FleetTurns(), (Owners(all=True), ("k",))
    [found] = turns.find([(fleet, 2), (fleet, 1)], find, shared=False).values()
    assert (found.queues, seen[0].enough) == ([("b", "k"), ("a", "k")], 3)
    assert found.order == {(5, "b"): 0, (5, "a"): 1, (4, "b"): 2}
    found.record(5, "a")
    found.record(3, "a")
    turns.find([(fleet, 1_000)], find, shared=True)
    assert (seen[1].last, seen[1].enough, seen[1].limit) == ({5: "a"}, MAX_TURNS, MAX_TURNS)
    others = [((Owners(all=True), (f"k{number}",)), 1) for number in range(MAX_FLEETS)]
    turns.find(others, find, shared=False)
    turns.find([(fleet, 1)], find, shared=False)
    assert not seen[-1].last
