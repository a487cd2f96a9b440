"""Terms tell two histories of a ledger apart, wherever they parted."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.history.terms import TERM_GAP_MICROS, Point, Term, Terms, new_term

SEEDS = st.integers(0, 2**32)
STARTS = st.lists(st.integers(0, 20), max_size=5)


def grown(rows: dict[int, Term], end: int, steps: list[int], random: Random) -> tuple[dict[int, Term], int]:
    """Return the terms and the end of a ledger that starts anew after each number of commits."""
    rows = dict(rows)
    for commits in steps:
        rows[end + 1] = new_term(0, 0, max(rows.values()), random.randrange)
        end += commits
    return rows, end


@given(STARTS, STARTS, STARTS, st.integers(0, 100), SEEDS)
def test_a_point_is_included_where_the_history_is_the_same_and_nowhere_else(
    before: list[int], ours: list[int], theirs: list[int], back: int, seed: int
):
    random = Random(seed)
    rows, end = grown({0: 0}, 0, before, random)
    kept = max(0, end - back)
    lost, lost_end = grown(rows, end, ours, random)
    common = {first: term for first, term in rows.items() if first <= kept}
    promoted, promoted_end = grown(common, kept, [1, *theirs], random)
    first, second = Terms(lost.items()), Terms(promoted.items())
    for position in range(max(lost_end, promoted_end) + 1):
        assert second.include(first.point(position)) is (position <= kept)
    assert second.last_common(first, min(lost_end, promoted_end)) == min(kept, lost_end)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 2**40)), min_size=1), st.integers(0, 60))
def test_what_was_trimmed_counts_as_the_same(rows: list[tuple[int, Term]], position: int):
    terms = Terms(dict(rows).items())
    first = min(first for first, _ in rows)
    assert (terms.of(position) is None) is (position < first)
    assert terms.include(Point(position, -1)) is (position < first)


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(0, 2**50), SEEDS)
def test_a_term_is_later_than_all_before_it_and_no_other_history_begins_it(
    now: int, commit_time: int, previous: int, seed: int
):
    random = Random(seed)
    term = new_term(now, commit_time, previous, random.randrange)
    assert term >= max(now, commit_time + TERM_GAP_MICROS, previous + TERM_GAP_MICROS)
    assert term != new_term(now, commit_time, previous, lambda below: below)
