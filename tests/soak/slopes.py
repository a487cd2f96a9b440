"""Whether a measured quantity levels off: its robust slope over the last two thirds of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import median
from typing import Final

WARM_UP: Final = 1 / 3
"""The share of a run that is not judged: caches fill, and what retention keeps accumulates."""
MAX_POINTS: Final = 300
"""Points of which all pairs are compared; of more, medians of neighbours are."""

Point = tuple[float, float]
"""Seconds since the beginning of the run, and a value."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a quantity may rise by over the judged part: a share of its level, or at least so much."""

    share: float
    least: float


NOT_JUDGED: Final = Bound(0, inf)
"""Of what levels off only after hours or days."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a quantity moved over the judged part of a run."""

    name: str
    unit: str
    level: float
    per_hour: float
    rise: float
    allowed: float

    @property
    def rises(self) -> bool:
        """Whether it rose by more than is allowed."""
        return self.rise > self.allowed

    def __str__(self) -> str:
        verdict = "not judged" if self.allowed == inf else "RISES" if self.rises else "level"
        return (
            f"{self.name:34} {self.level:12,.1f} {self.unit:5} {self.per_hour:+14,.1f} /h"
            f" {self.rise:+12,.1f} of {self.allowed:10,.1f}  {verdict}"
        )


HEADING: Final = f"{'':34} {'level':>12} {'':5} {'slope':>14}    {'rise':>12}    {'allowed':>10}"


def slope(points: Sequence[Point]) -> float:
    """Return the median of the slopes of all pairs of points, per second (Theil and Sen): spikes do not move it."""
    slopes = [(later - sooner) / (end - begin) for (begin, sooner), (end, later) in combinations(points, 2)]
    return median(slopes) if slopes else 0.0


def trend(name: str, unit: str, points: Sequence[Point], seconds: float, bound: Bound) -> Trend:
    """Return how a quantity moved over the last two thirds of a run of so many seconds."""
    judged = [point for point in points if point[0] >= seconds * WARM_UP]
    if not judged:
        raise ValueError(f"{name}: no sample is of the last two thirds of {seconds:.0f} s")
    level = median(value for _, value in judged)
    per_second = slope(_thinned(judged))
    rise = per_second * seconds * (1 - WARM_UP)
    return Trend(name, unit, level, per_second * 3_600, rise, max(bound.share * level, bound.least))


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most `MAX_POINTS` points, each the median of some neighbours."""
    size = -(-len(points) // MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(median(time for time, _ in group), median(value for _, value in group)) for group in groups]
