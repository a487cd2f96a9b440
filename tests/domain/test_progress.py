"""Percent, rate and backoff follow their formulas."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.job import Stage
from jobledger_service.core.model.job_progress import JobProgress, Rate
from jobledger_service.core.model.lifecycle import sizes_of
from jobledger_service.core.model.progress import staged
from jobledger_service.core.model.retry import RetryPolicy


@given(items=st.integers(1, 10**6), size=st.integers(1, 10**4))
def test_chunks_hold_all_items_and_only_the_last_is_smaller(items: int, size: int):
    sizes = sizes_of(items, size)
    assert sum(sizes) == items
    assert all(one == size for one in sizes[:-1])
    assert 1 <= sizes[-1] <= size


plans = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20).map(
    lambda weights: [Stage(str(n), weight) for n, weight in enumerate(weights)]
)


@given(plan=plans, data=st.data())
def test_the_part_of_a_plan_rises_with_every_step_through_it(plan: list[Stage], data: st.DataObject):
    percents = sorted(data.draw(st.lists(st.floats(0, 100), min_size=1, max_size=5)))
    parts = [staged(plan, stage.name, percent) for stage in plan for percent in percents]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(parts))
    assert all(0 <= part <= 1 for part in parts)
    assert staged(plan, plan[-1].name, 100) == pytest.approx(1)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=10))
def test_the_percent_of_a_run_is_the_most_that_was_done_at_once(work_done: list[int]):
    progress = JobProgress(work_total=1000)
    for number, done in enumerate(work_done, 1):
        progress = progress.plus(done - progress.work_done, 0, 0)
        assert progress.work_done == done
        assert progress.percent == max(work_done[:number]) * 100 / 1000


@given(speed=st.integers(1, 10_000), seconds=st.integers(2, 300))
def test_a_constant_rate_is_estimated_as_it_is(speed: int, seconds: int):
    rate = Rate(since=0, at=0)
    for step in range(1, seconds * 4 + 1):
        rate = rate.step(step * SECOND // 4, 0, 0) if step % 4 else rate.step(step * SECOND // 4, speed, speed)
    assert rate.items_per_second == pytest.approx(speed, rel=0.3)


def test_a_rate_is_unknown_at_first_and_when_nothing_moves():
    assert Rate(since=0, at=0).step(SECOND // 2, 5, 5).items_per_second is None
    assert Rate(since=0, at=0).step(5 * SECOND, 0, 0).items_per_second is None


@given(
    attempt=st.integers(1, 10_000),
    jitter_sample=st.floats(0, 1),
    initial=st.integers(0, 10**9),
    multiplier=st.floats(1, 10),
    jitter=st.floats(0, 1),
)
def test_backoff_stays_under_its_ceiling_and_its_jitter(
    attempt: int, jitter_sample: float, initial: int, multiplier: float, jitter: float
):
    policy = RetryPolicy(3, initial, multiplier, max(initial, 60 * SECOND), jitter)
    wait = policy.backoff(attempt, jitter_sample)
    assert 0 <= wait <= math.ceil(policy.max_backoff * (1 + jitter))


def test_backoff_doubles_from_its_beginning():
    policy = RetryPolicy(jitter=0)
    assert [policy.backoff(n, 0.5) for n in (1, 2, 3, 20)] == [SECOND, 2 * SECOND, 4 * SECOND, 300 * SECOND]
