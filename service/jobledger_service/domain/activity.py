"""What happened in a span of time, added up from rollups; percentiles of durations from their buckets."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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

    def percentile(self, percent: float) -> float:
        """Return, in microseconds, a duration within 4.5 % of the one that `percent` of them do not exceed.

        By the nearest rank: of n durations in order, number ⌈n · percent / 100⌉. Below 1 ms it is within 0.5 ms.
        Raises ValueError when there are none.
        """
        rank = max(ceil(self.count * percent / 100), 1)
        for bucket, count in sorted(self.buckets.items()):
            rank -= count
            if rank <= 0:
                return middle_of(bucket)
        raise ValueError("there are no durations")


@dataclass(slots=True)
class Activity:
    """Rollups added up: for each measure a total, and counts by bucket. A count of 0 is not kept."""

    totals: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.totals.values()) or any(self.counts.values())

    def count(self, measure: Measure) -> int:
        """Return how often something happened."""
        return sum(self.counts.get(measure, {}).values())

    def total(self, measure: Measure) -> int:
        """Return what it came to, in the measure's unit."""
        return self.totals.get(measure, 0)

    def durations(self, *measures: Measure) -> Durations:
        """Return the durations of these measures together, without those that were not measured."""
        buckets: dict[int, int] = {}
        for measure in measures:
            for bucket, count in self.counts.get(measure, {}).items():
                if bucket != UNMEASURED:
                    buckets[bucket] = buckets.get(bucket, 0) + count
        return Durations(sum(self.total(measure) for measure in measures), buckets)

    def put(self, measure: str, bucket: int, count: int, total: int) -> None:
        """Add one rollup."""
        self.totals[measure] = self.totals.get(measure, 0) + total
        buckets = self.counts.setdefault(measure, {})
        buckets[bucket] = buckets.get(bucket, 0) + count
        if not buckets[bucket]:
            del buckets[bucket]

    def add(self, other: "Activity", sign: int = 1) -> None:
        """Add another's, or with a sign of -1 take it away."""
        for measure, total in other.totals.items():
            self.totals[measure] = self.totals.get(measure, 0) + sign * total
        for measure, theirs in other.counts.items():
            mine = self.counts.setdefault(measure, {})
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + sign * count
                if not mine[bucket]:
                    del mine[bucket]

    def rollups(self) -> Iterator[tuple[str, int, Iterable[int]]]:
        """Return each measure with its total and its buckets, each followed by its count."""
        for measure, total in self.totals.items():
            buckets = self.counts.get(measure, {})
            yield measure, total, (number for pair in buckets.items() for number in pair)
