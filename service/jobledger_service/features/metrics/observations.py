"""Histograms by kind of what commits measure."""

from bisect import bisect_left
from itertools import accumulate
from typing import Final

from jobledger_service.core.model.history.measures import Measure

_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400)
_CHUNKS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
SENTENCES: Final = {
    Measure.JOB_DURATION: "How long runs of jobs of a kind took, from their first claim to their end.",
    Measure.ATTEMPT_DURATION: "How long attempts at chunks of a kind took, up to a report or a time limit.",
    Measure.WAITING: "How long jobs of a kind waited for their first claim, since they might begin.",
    Measure.CHUNKS: "How many chunks new jobs of a kind have.",
}


class Observations:
    """Numbers of one histogram, counted by bucket."""

    def __init__(self, measure: Measure) -> None:
        self._bounds = _CHUNKS if measure is Measure.CHUNKS else _SECONDS
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a number."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bound of each bucket, and how many numbers are not above it."""
        names = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))
