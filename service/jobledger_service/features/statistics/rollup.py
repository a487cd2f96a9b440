"""A batch's additions to counts and hourly sums, computed from its changes and never by counting rows."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from math import ceil, floor, log2
from operator import add, sub
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.bounds.limits import HOUR, MAX_SUM, SECOND
from jobledger_service.core.model.chunk import NO_ARTIFACTS, Chunk, stored_bytes
from jobledger_service.core.model.history.change import ChangeType, JobDelta
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS
from jobledger_service.core.model.states import JobState

from .failures import FailureCounts, count_failure

BUCKETS_PER_DOUBLING: Final = 8
"""Buckets for each doubling of a duration: their bounds are a factor of 2^(1/8) apart."""
_FIRST_BOUND: Final = SECOND / 1_000
"""The bound below which durations, under 1 ms, are in bucket 0."""
UNMEASURED: Final = -1
"""The bucket of a run that ended before it started: it counts, and has no duration."""


class Measure(StrEnum):
    """What is summed by the hour: a count, and a total whose unit depends on the measure."""

    CREATED = "CREATED"
    """Jobs; no total."""
    STARTED = "STARTED"
    """Runs whose first chunk was claimed, by the time that they had waited; microseconds."""
    COMPLETED = "COMPLETED"
    """Runs that ended in this state, by their duration; microseconds. The next two are alike."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CHUNKS = "CHUNKS"
    """Chunks completed, by the time that their attempt took; microseconds."""
    ITEMS = "ITEMS"
    """Chunks with items that were completed; items."""
    ARTIFACTS = "ARTIFACTS"
    """Artifacts added, less replaced ones; bytes."""
    JOB_RETRIES = "JOB_RETRIES"
    """Runs that RetryJob started; no total."""
    FAILED_ATTEMPTS = "FAILED_ATTEMPTS"
    """Attempts at chunks that failed; no total. So the next two: whose lease ran out, and that took too long."""
    EXPIRED_ATTEMPTS = "EXPIRED_ATTEMPTS"
    TIMED_OUT_ATTEMPTS = "TIMED_OUT_ATTEMPTS"
    RETRIED_ATTEMPTS = "RETRIED_ATTEMPTS"
    """Attempts that ended, by themselves, and were not the first at their chunk; no total."""


NOT_HELD: Final = (0,) * len(HoldReason)

CountKey = tuple[str, str, str]
"""Owner, kind, state."""
RollupKey = tuple[str, int, str, str, int]
"""Owner, hour since 1970, kind, measure, bucket."""


def bucket_of(duration: int) -> int:
    """Return the bucket of a duration in microseconds; a negative one, after a clock was set back, counts as 0."""
    return floor(BUCKETS_PER_DOUBLING * log2(duration / _FIRST_BOUND)) + 1 if duration >= _FIRST_BOUND else 0


def middle_of(bucket: int) -> float:
    """Return the duration, in microseconds, that represents a bucket: its geometric mean, half a millisecond for 0.

    It differs by a factor of at most 2^(1/16) from every duration in the bucket: within 4.5 %.
    """
    return _FIRST_BOUND * 2.0 ** ((bucket - 0.5) / BUCKETS_PER_DOUBLING) if bucket else _FIRST_BOUND / 2


_ATTEMPTS: Final = {
    ChangeType.CHUNK_COMPLETED: Measure.CHUNKS,
    ChangeType.CHUNK_FAILED: Measure.FAILED_ATTEMPTS,
    ChangeType.LEASE_EXPIRED: Measure.EXPIRED_ATTEMPTS,
    ChangeType.ATTEMPT_TIMED_OUT: Measure.TIMED_OUT_ATTEMPTS,
}
_ENDS: Final = {
    JobState.COMPLETED: Measure.COMPLETED,
    JobState.FAILED: Measure.FAILED,
    JobState.CANCELLED: Measure.CANCELLED,
}


class StatisticsDelta(MsgStruct):
    """Sums the changes of one batch or several."""

    _counts: dict[CountKey, tuple[int, ...]] = {}
    _rollups: dict[RollupKey, tuple[int, int]] = {}
    failures: FailureCounts = {}
    """The runs that failed, by place and group."""

    def add(self, delta: JobDelta, now: Micros) -> None:
        """Add a job's changes; `now` is the time of the commit."""
        self._recount(delta)
        if any(change.type is ChangeType.IMPORTED for change in delta.changes):
            return  # what it did happened elsewhere, and in other hours
        hour = now // HOUR
        for error in delta.failures:
            count_failure(self.failures, delta.job, error, now)
        for measure, bucket, count, total in measures_of(delta, now):
            spec = delta.job.spec
            self.add_rollup((spec.owner, hour, spec.kind, measure.value, bucket), count, total)

    def add_rollup(self, key: RollupKey, count: int, total: int) -> None:
        """Add to one rollup."""
        old_count, old_total = self._rollups.get(key, (0, 0))
        self._rollups[key] = (old_count + count, old_total + total)

    def add_count(
        self,
        key: CountKey,
        jobs: int,
        chunks_pending: int,
        chunks_processing: int,
        *,
        held: Iterable[int] = NOT_HELD,
        artifact_bytes: int = 0,
    ) -> None:
        """Add to one count; `held` are the pending chunks with each hold."""
        added = (jobs, chunks_pending, chunks_processing, *held, artifact_bytes)
        old = self._counts.get(key)
        self._counts[key] = added if old is None else tuple(map(add, old, added))

    def _recount(self, delta: JobDelta) -> None:
        before, job = delta.before, delta.job
        if before is not None:
            was, is_ = (before.state, before.held, before.artifact_bytes), (job.state, job.held, job.artifact_bytes)
            unchanged = was == is_ and before.counts is job.counts
            if unchanged and not delta.deleted:
                return
            self._move(before, -1)
        if not delta.deleted:
            self._move(job, 1)

    def _move(self, job: Job, sign: int) -> None:
        counts = job.counts
        key = (job.spec.owner, job.spec.kind, job.state.value)
        held = [sign * chunks for chunks in job.held_chunks()]
        pending, processing, stored = counts.pending, counts.processing, job.artifact_bytes
        self.add_count(key, sign, sign * pending, sign * processing, held=held, artifact_bytes=sign * stored)

    def counts(self) -> list[tuple[CountKey, tuple[int, ...]]]:
        """Return the additions to the counts (jobs, chunks as `chunk_counts` has them, bytes), in the order of keys.

        Those of all kinds of an owner, and of all owners, are in rows of their own, so that totals are read without the
        others.
        """
        added = StatisticsDelta(dict(self._counts))
        for (owner, kind, state), (jobs, pending, processing, *held, stored) in self._counts.items():
            for key in ((owner, ALL_KINDS, state), (ALL_OWNERS, kind, state), (ALL_OWNERS, ALL_KINDS, state)):
                added.add_count(key, jobs, pending, processing, held=held, artifact_bytes=stored)
        return sorted(
            (key, (*numbers[:-1], clamped(numbers[-1]))) for key, numbers in added._counts.items() if any(numbers)
        )

    def rollups(self) -> list[tuple[RollupKey, tuple[int, int]]]:
        """Return the additions to the rollups (count, total), in the order of keys; those of all kinds likewise."""
        added = StatisticsDelta({}, dict(self._rollups))
        for (owner, hour, _, measure, bucket), numbers in self._rollups.items():
            added.add_rollup((owner, hour, ALL_KINDS, measure, bucket), *numbers)
        return sorted((key, (n, clamped(total))) for key, (n, total) in added._rollups.items() if n or total)


def clamped(total: int) -> int:
    """Return a sum within the stored range."""
    return max(-MAX_SUM, min(total, MAX_SUM))


def measures_of(delta: JobDelta, now: Micros) -> Iterator[tuple[Measure, int, int, int]]:
    """Return measure, bucket, count and total of each change of a job in a batch."""
    before = delta.before
    queued = before.queued_time if before else now
    started = before.start_time if before else None
    earlier: Mapping[tuple[int, int | None], Chunk] = {
        (chunk.index, chunk.attempt_number): chunk for chunk in delta.attempts
    }
    for change in delta.changes:
        if change.type is ChangeType.CREATED:
            yield Measure.CREATED, 0, 1, 0
        elif (measure := _ATTEMPTS.get(change.type)) and (index := change.chunk_index) is not None:
            yield from _attempt(measure, earlier.get((index, change.attempt)) or delta.chunks[index], now)
        if change.from_state is change.to_state:
            continue
        match change.to_state:
            case JobState.QUEUED:
                queued, started = now, None
                if change.type is ChangeType.RETRIED:
                    yield Measure.JOB_RETRIES, 0, 1, 0
            case JobState.RUNNING:
                started = now
                yield _duration(Measure.STARTED, queued, now)
            case JobState.COMPLETED | JobState.FAILED | JobState.CANCELLED:
                yield _duration(_ENDS[change.to_state], started, now)
                started = None
    yield from _artifacts(delta)


def _attempt(measure: Measure, chunk: Chunk, now: Micros) -> Iterator[tuple[Measure, int, int, int]]:
    """Return what an attempt counts that ended by itself; `chunk` is as it left it."""
    if measure is Measure.CHUNKS:
        yield _duration(measure, chunk.start_time, now)
        if chunk.items:
            yield Measure.ITEMS, 0, 1, chunk.items
    else:
        yield measure, 0, 1, 0
    if chunk.attempt > 1:
        yield Measure.RETRIED_ATTEMPTS, 0, 1, 0


def _duration(measure: Measure, since: Micros | None, now: Micros) -> tuple[Measure, int, int, int]:
    if since is None:
        return measure, UNMEASURED, 1, 0
    duration = max(now - since, 0)
    return measure, bucket_of(duration), 1, duration


def _artifacts(delta: JobDelta) -> Iterator[tuple[Measure, int, int, int]]:
    """Return the bytes of artifacts added to the job and to its chunks, by difference."""
    of_job = delta.before.artifacts if delta.before else NO_ARTIFACTS
    pairs = [(of_job, delta.job.artifacts)]
    pairs += [(old, delta.chunks[index].artifacts) for index, old in delta.earlier_artifacts.items()]
    for old, new in pairs:
        if old is not new and old != new:
            yield Measure.ARTIFACTS, 0, len(new) - len(old), stored_bytes(new) - stored_bytes(old)


RUNS_ENDED: Final = (Measure.COMPLETED, Measure.FAILED, Measure.CANCELLED)
ATTEMPTS_FAILED: Final = (Measure.FAILED_ATTEMPTS, Measure.EXPIRED_ATTEMPTS, Measure.TIMED_OUT_ATTEMPTS)


class Durations(MsgStruct, frozen=True):
    """A distribution: how many durations there are in each bucket, from 0; `total` is their sum in microseconds."""

    total: int
    buckets: Sequence[int]

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.buckets)

    def percentiles(self, *percents: float) -> list[float]:
        """Return for each percent the duration at the nearest rank, in microseconds, within 4.5 %.

        Of n durations in order this is number ⌈n · percent / 100⌉. Below 1 ms it is within 0.5 ms. Raises ValueError
        for no durations.
        """
        ranks = list(accumulate(self.buckets))
        if not ranks or not ranks[-1]:
            raise ValueError("there are no durations")
        return [middle_of(bisect_left(ranks, max(ceil(ranks[-1] * percent / 100), 1))) for percent in percents]


class Activity(MsgStruct):
    """Summed rollups: for each measure a total, and a count for each bucket, from UNMEASURED on.

    They are lists, as one call adds and subtracts thousands of them.
    """

    totals: dict[str, int] = {}
    counts: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return any(self.totals.values()) or any(map(any, self.counts.values()))

    def count(self, *measures: str) -> int:
        """Return how often these measures occurred."""
        return sum(sum(self.counts.get(measure, ())) for measure in measures)

    def total(self, measure: str) -> int:
        """Return a measure's total, in its unit."""
        return self.totals.get(measure, 0)

    def durations(self, *measures: Measure) -> Durations:
        """Return the durations of these measures together, without unmeasured ones."""
        together: list[int] = []
        for measure in measures:
            _add(together, self.counts.get(measure, ()))
        return Durations(sum(map(self.total, measures)), together[-UNMEASURED:])

    def put(self, measure: str, bucket: int, count: int, total: int) -> None:
        """Add one rollup."""
        self.totals[measure] = self.totals.get(measure, 0) + total
        buckets, place = self.counts.setdefault(measure, []), bucket - UNMEASURED
        buckets.extend([0] * (place + 1 - len(buckets)))
        buckets[place] += count

    def add(self, other: "Activity", sign: int = 1) -> None:
        """Add another activity's rollups, or subtract them with the sign -1."""
        for measure, total in other.totals.items():
            self.totals[measure] = self.totals.get(measure, 0) + sign * total
        for measure, buckets in other.counts.items():
            _add(self.counts.setdefault(measure, []), buckets, add if sign > 0 else sub)

    def since(self, earlier: "Activity") -> "Activity":
        """Return what was added since an earlier state of this activity."""
        added = Activity(dict(self.totals), {measure: [*buckets] for measure, buckets in self.counts.items()})
        added.add(earlier, -1)
        return added


def _add(mine: list[int], theirs: Sequence[int], operation: Callable[[int, int], int] = add) -> None:
    mine.extend([0] * (len(theirs) - len(mine)))
    mine[: len(theirs)] = map(operation, mine, theirs)
