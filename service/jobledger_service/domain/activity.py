"""What happened in a span of time, added up from rollups; percentiles of durations from their buckets."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import Final

from .rollup import UNMEASURED, Measure, middle_of

RUNS_ENDED: Final = (Measure.COMPLETED, Measure.FAILED, Measure.CANCELLED)


@dataclass(frozen=True, slots=True)
class Durations:
    """A distribution: `buckets` counts durations by bucket, `total` is their sum in microseconds."""

    total: int
    buckets: Mapping[int, int]

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.buckets.values())

    def percentiles(self, *percents: float) -> list[float]:
        """Return, in microseconds, for each percent a duration within 4.5 % of the one that so many do not exceed.

        By the nearest rank: of n durations in order, number ⌈n · percent / 100⌉. Below 1 ms it is within 0.5 ms.
        Raises ValueError when there are none.
        """
        buckets = sorted(self.buckets)
        ranks = list(accumulate(self.buckets[bucket] for bucket in buckets))
        if not ranks or not ranks[-1]:
            raise ValueError("there are no durations")
        return [middle_of(buckets[bisect_left(ranks, max(ceil(ranks[-1] * p / 100), 1))]) for p in percents]


@dataclass(slots=True)
class Activity:
    """Rollups added up: for each measure a total, and counts by bucket."""

    totals: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.totals.values()) or any(any(buckets.values()) for buckets in self.counts.values())

    def count(self, measure: Measure) -> int:
        """Return how often something happened."""
        return sum(self.counts.get(measure, {}).values())

    def total(self, measure: str) -> int:
        """Return what it came to, in the measure's unit."""
        return self.totals.get(measure, 0)

    def durations(self, *measures: Measure) -> Durations:
        """Return the durations of these measures together, without those that were not measured."""
        buckets: dict[int, int] = {}
        for measure in measures:
            for bucket, count in self.counts.get(measure, {}).items():
                if bucket != UNMEASURED and count:
                    buckets[bucket] = buckets.get(bucket, 0) + count
        return Durations(sum(self.total(measure) for measure in measures), buckets)

    def put(self, measure: str, bucket: int, count: int, total: int) -> None:
        """Add one rollup."""
        self.totals[measure] = self.totals.get(measure, 0) + total
        buckets = self.counts.setdefault(measure, {})
        buckets[bucket] = buckets.get(bucket, 0) + count

    def add(self, other: "Activity") -> None:
        """Add another's."""
        for measure, total in other.totals.items():
            self.totals[measure] = self.totals.get(measure, 0) + total
        for measure, theirs in other.counts.items():
            mine = self.counts.setdefault(measure, {})
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count

    def since(self, earlier: "Activity") -> "Activity":
        """Return what came to be after an earlier state of this: a bucket that was there then is here still."""
        return Activity(
            {measure: total - earlier.total(measure) for measure, total in self.totals.items()},
            {
                measure: {bucket: count - before.get(bucket, 0) for bucket, count in now.items()}
                for measure, now in self.counts.items()
                for before in [earlier.counts.get(measure, {})]
            },
        )

    def rollups(self) -> Iterator[tuple[str, int, Iterable[int]]]:
        """Return each measure with its total and its buckets, each followed by its count."""
        for measure, total in self.totals.items():
            buckets = self.counts.get(measure, {})
            yield measure, total, (number for pair in buckets.items() for number in pair)
