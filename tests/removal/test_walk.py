"""The progress of a removal: bounded however many artifacts fail, and none of them is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.features.artifacts.walk import MAX_AGAIN, MAX_PASSING, FailedDeletion, Walk

pytestmark = pytest.mark.fast

CHUNKS = 1_000


def failed(index: int, *, may_pass: bool) -> FailedDeletion:
    return FailedDeletion((index, 0), f"s3://b/{index}", "no", may_pass)


@given(st.lists(st.lists(st.booleans(), max_size=20), max_size=20))
def test_the_cursor_is_bounded_and_each_failure_is_tried_again_or_counted(steps: list[list[bool]]):
    walk, count = Walk.begin(None, CHUNKS), 0
    for step in steps:
        if walk.is_stopped:
            break
        deletions = [failed(count + n, may_pass=may_pass) for n, may_pass in enumerate(step)]
        count += len(step)
        walk = walk.after((count, 0), (), deletions)
    assert walk.failed == count
    assert len(walk.cursor) <= 3 + 2 * MAX_AGAIN
    passing = {one.place for one in walk.failures if one.may_pass}
    resumed = Walk.begin(walk.cursor, CHUNKS)
    assert passing <= set(resumed.again)
    assert (resumed.place, resumed.failed) == (walk.place, count)


def test_an_attempt_ends_when_a_store_seems_to_be_away():
    walk = Walk.begin(None, CHUNKS)
    for n in range(MAX_PASSING):
        assert not walk.is_stopped
        walk = walk.after((n + 1, 0), (), [failed(n, may_pass=True)])
    assert walk.is_stopped
    assert len(Walk.begin(walk.cursor, CHUNKS).again) == MAX_PASSING


def test_an_attempt_after_more_failures_than_are_listed_begins_from_the_start():
    walk = Walk.begin(None, CHUNKS).after((CHUNKS, 0), (), [failed(n, may_pass=False) for n in range(MAX_AGAIN + 1)])
    assert (walk.given_up, walk.failed) == (1, MAX_AGAIN + 1)
    assert Walk.begin(walk.cursor, CHUNKS) == Walk()
    unfinished = Walk.begin((5, 0, 1), CHUNKS)
    assert (unfinished.place, unfinished.given_up) == ((5, 0), 1)
