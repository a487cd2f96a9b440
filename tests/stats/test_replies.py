"""A reply stays within what a message may hold, whatever was counted."""

import pytest
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES, MAX_SUM
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.states import JobState
from jobledger_service.features.statistics.api import MAX_POINTS
from jobledger_service.features.statistics.failures import MAX_SHOWN, FailureGroup, FailureGroups
from jobledger_service.features.statistics.figures import MAX_SERIES_POINTS
from jobledger_service.features.statistics.replies import reply
from jobledger_service.features.statistics.rollup import Activity, Measure
from jobledger_service.features.statistics.rules import MAX_KINDS, Figures, KindFigures, StatsQuery


def busy() -> Activity:
    """Return an activity of the largest numbers."""
    activity = Activity()
    for measure in Measure:
        activity.put(measure, 150, 2**50, MAX_SUM)
    return activity


@pytest.mark.slow
def test_the_largest_reply_is_within_the_byte_budget():
    jobs = dict.fromkeys(JobState, 2**62)
    kinds = {
        f"k.{'x' * 122}{n:04}": KindFigures(jobs, 2**62, 2**62, [2**62] * len(HoldReason), 2**62, 1, busy(), MAX_SUM)
        for n in range(MAX_KINDS)
    }
    points = {n: busy() for n in range(MAX_POINTS)}
    groups = [FailureGroup("€" * 128, "€" * 128, 2**62, "j" * 128) for _ in range(MAX_SHOWN)]
    failures = FailureGroups(tuple(groups), 2**31 - 1)
    figures = Figures(
        kinds, KindFigures(jobs, activity=busy()), points, 2**31 - 1, {"k" * 128: points}, 2**31 - 1, failures
    )
    found = reply(StatsQuery("me", (), range(MAX_POINTS), 1), figures, 10**15)
    assert (len(found.kinds), len(found.series), found.omitted_kind_count) == (MAX_KINDS, MAX_POINTS, 2**31 - 1)
    assert len(found.series_by_kind[0].points) == MAX_SERIES_POINTS
    assert (len(found.total.failures), found.total.omitted_failure_count) == (MAX_SHOWN, 2**31 - 1)
    assert found.ByteSize() <= MAX_REPLY_BYTES


def test_a_kind_of_which_there_is_nothing_is_not_shown():
    figures = Figures({"gone": KindFigures(jobs={JobState.QUEUED: 0})}, KindFigures(), {})
    assert not reply(StatsQuery("me", ("gone",), range(24)), figures, 0).kinds


def test_sums_of_many_hours_stay_within_64_bits():
    activity = Activity()
    for _ in range(4):
        activity.put(Measure.ARTIFACTS, 0, 1, MAX_SUM)
        activity.put(Measure.ITEMS, 0, 1, MAX_SUM)
    found = reply(StatsQuery("me", (), range(24)), Figures({}, KindFigures(activity=activity), {}), 0)
    assert (found.total.activity.artifact_bytes, found.total.activity.items_completed) == (MAX_SUM, MAX_SUM)
