"""Percentiles from buckets are within their bound of the exact ones; totals are exact."""

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobledger_service.core.model.bounds.limits import MAX_SUM
from jobledger_service.features.statistics.rollup import UNMEASURED, Activity, Measure, bucket_of, clamped, middle_of
from jobledger_service.features.statistics.running_totals import activity_of, text_of

MILLISECOND = 1_000
YEARS = 10 * 365 * 86_400_000_000
BOUND = 0.045
"""What the contract promises of a percentile."""

durations = st.one_of(st.integers(0, 10 * MILLISECOND), st.integers(MILLISECOND, YEARS))


def exact(values: list[int], percent: float) -> int:
    """Return the percentile by the nearest rank."""
    return sorted(values)[max(ceil(len(values) * percent / 100), 1) - 1]


@settings(deadline=None)  # what is slow on a busy machine is not wrong
@given(values=st.lists(durations, min_size=1, max_size=300), percent=st.sampled_from([1, 50, 90, 95, 99, 100]))
def test_a_percentile_is_within_its_bound_of_the_exact_one(values: list[int], percent: float):
    activity = Activity()
    for value in values:
        activity.put(Measure.STARTED, bucket_of(value), 1, value)
    found = activity.durations(Measure.STARTED)
    assert (found.count, found.total) == (len(values), sum(values))
    true = exact(values, percent)
    if true < MILLISECOND:
        assert abs(found.percentiles(percent)[0] - true) <= MILLISECOND / 2
    else:
        assert found.percentiles(percent) == [pytest.approx(true, rel=BOUND)]


@given(value=st.integers(MILLISECOND, YEARS))
def test_buckets_rise_with_the_duration_by_the_eighth_of_a_doubling(value: int):
    assert bucket_of(value) >= bucket_of(value - 1)
    assert abs(bucket_of(2 * value) - bucket_of(value) - 8) <= 1
    assert middle_of(bucket_of(value)) == pytest.approx(value, rel=BOUND)


def test_a_run_that_never_started_counts_and_has_no_duration():
    activity = Activity()
    activity.put(Measure.CANCELLED, UNMEASURED, 3, 0)
    activity.put(Measure.CANCELLED, bucket_of(5_000_000), 1, 5_000_000)
    assert activity.count(Measure.CANCELLED) == 4
    assert activity.durations(Measure.CANCELLED).count == 1
    assert activity.durations(Measure.CANCELLED).percentiles(50) == [pytest.approx(5_000_000, rel=BOUND)]
    with pytest.raises(ValueError, match="no durations"):
        Activity().durations(Measure.CANCELLED).percentiles(50)


rollups = st.lists(
    st.tuples(st.sampled_from(Measure), st.integers(-1, 300), st.integers(1, 10**6), st.integers(-MAX_SUM, MAX_SUM)),
    max_size=30,
)


@settings(deadline=None)
@given(first=rollups, second=rollups)
def test_what_happened_in_a_span_is_the_difference_of_two_totals(first: list[tuple], second: list[tuple]):
    before, span, after = Activity(), Activity(), Activity()
    for rollup in first:
        before.put(*rollup)
        after.put(*rollup)
    for rollup in second:
        span.put(*rollup)
        after.put(*rollup)
    found = activity_of(text_of(after)).since(activity_of(text_of(before)))
    assert occurred(found) == occurred(span)
    assert bool(found) == bool(occurred(span) or any(span.totals.values()))
    assert all(found.total(measure) == span.total(measure) for measure in Measure)


def occurred(activity: Activity) -> dict[tuple[str, int], int]:
    """Return how often each measure occurred in each bucket, where it did."""
    return {(m, place): n for m, counts in activity.counts.items() for place, n in enumerate(counts) if n}


@pytest.mark.parametrize(
    ("total", "kept"), [(0, 0), (MAX_SUM + 1, MAX_SUM), (-MAX_SUM - 1, -MAX_SUM), (MAX_SUM, MAX_SUM)]
)
def test_a_sum_stops_before_it_leaves_64_bits(total: int, kept: int):
    assert clamped(total) == kept
    assert 2 * MAX_SUM < 2**63
