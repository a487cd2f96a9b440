"""Claims of one batch get the most urgent chunks, each one once, and look at no more than they want together."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.ledger.picking import FIRST_FETCH, ClaimQuery, pick
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.store.writes import WaitingChunk

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


def test_what_is_examined_grows_with_the_limits_and_not_with_their_square():
    kinds = [f"k{n}" for n in range(60)]
    chunks = {("me", kind): chunks_of(kind, [5] * 1_500, per_job=1) for kind in (*kinds, "common")}
    for others in ((), ("common",)):
        waiting = Waiting(chunks)
        wanted = [ClaimQuery("me", (kind, *others), 50) for kind in kinds]
        found = pick(wanted, waiting.fetch, waiting.lock_free, shared=True)
        assert [len(picked.chunks) for picked in found] == [50] * 60
        assert waiting.looked_at <= 60 * FIRST_FETCH + 2 * 60 * 50
