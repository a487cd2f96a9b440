"""A quantity that rises is found, whatever noise, spikes and teeth it has; one that levels off is not."""

from random import Random

import pytest

from tests.soak.slopes import NOT_JUDGED, Bound, Point, slope, trend

SECONDS = 1_800.0
TENTH = Bound(0.10, 8)


def series(per_hour: float, *, noise: float = 0, spikes: float = 0, tooth: float = 0) -> list[Point]:
    """Return 200 points of a quantity that fills up in the first third, and then rises."""
    rng = Random(7)
    points = []
    for number in range(200):
        time = SECONDS * number / 200
        value = 100 * min(1, 0.2 + time / SECONDS * 3) + per_hour * time / 3_600 + rng.gauss(0, noise)
        value += tooth * (time % 60) / 60 + (1_000 if rng.random() < spikes else 0)
        points.append((time, value))
    return points


@pytest.mark.parametrize("shape", [{}, {"noise": 5}, {"spikes": 0.1}, {"tooth": 30}, {"noise": 3, "spikes": 0.05}])
def test_what_rises_is_found_and_what_is_level_is_not(shape: dict[str, float]):
    assert not trend("level", "", series(0, **shape), SECONDS, TENTH).rises
    assert not trend("falling", "", series(-60, **shape), SECONDS, TENTH).rises
    rising = trend("rising", "", series(60, **shape), SECONDS, TENTH)
    assert rising.rises
    assert rising.per_hour == pytest.approx(60, rel=0.25)


def test_what_levels_off_after_hours_is_shown_and_not_judged():
    shown = trend("by the hour", "rows", series(6_000), SECONDS, NOT_JUDGED)
    assert not shown.rises
    assert str(shown).endswith("not judged")


def test_the_warm_up_is_not_judged():
    steep = [(time, min(time, 600.0)) for time in range(0, 1_800, 10)]
    assert trend("filled", "", steep, SECONDS, TENTH).rise == 0


def test_a_slope_is_per_second():
    assert slope([(0, 1), (10, 21), (20, 41)]) == 2
    assert slope([(5, 1)]) == 0


def test_a_run_without_samples_of_its_end_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        trend("cut off", "", [(1, 1)], SECONDS, TENTH)
