"""What one batch did to a job is counted step by step, also what it undid again."""

import pytest
from jobledger_service.core.model import lifecycle, work
from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.chunk import Artifact, Chunk, WorkError
from jobledger_service.core.model.history.change import Change, JobDelta, Step
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS
from jobledger_service.core.write.stored_chunks import StoredChunks
from jobledger_service.features.statistics.rollup import (
    NOT_HELD,
    UNMEASURED,
    Measure,
    StatisticsDelta,
    bucket_of,
    measures_of,
)

CREATED, NOW = 480_000 * HOUR, 480_000 * HOUR + 90_000_000
CLAIM = work.Claim("w", 60_000_000)
SPEC = JobSpec("me", "j", "k", b"", retry_policy=RetryPolicy(max_attempts=1))


class Batch:
    """The steps that a batch takes with one job of one chunk of 5 items."""

    def __init__(self) -> None:
        step = lifecycle.create(lifecycle.NewJob(SPEC, [5]), "me", CREATED)
        self.before: Job = step.job
        self.job, self.chunk = step.job, step.chunks[0]
        self.earlier = self.chunk
        self.changes: list[Change] = []
        self.attempts: list[Chunk] = []

    def take(self, step: Step | None) -> None:
        assert step is not None
        assert step.change is not None
        self.job = step.job
        left: Chunk = self.chunk
        self.chunk = step.chunks[0] if step.chunks else left
        if self.chunk.attempt_number > left.attempt_number and left.outcome:
            self.attempts.append(left)
        if step.sweep is not None and step.sweep.covers(self.chunk):
            self.chunk = step.sweep.applied(self.chunk)
        self.changes.append(step.change)

    def claim(self) -> None:
        if self.chunk.attempt_number:
            self.attempts.append(self.chunk)
        self.take(work.claim(self.job, self.chunk, CLAIM, NOW))

    def fail(self) -> None:
        failure = work.Failure(WorkError("E"), 0.5)
        self.take(work.fail(self.job, self.chunk, work.NOTHING_NEW, failure, self.chunks(), NOW))

    def cancel(self) -> None:
        how = lifecycle.Cancellation(grace=0)
        self.take(lifecycle.cancel(self.job, self.chunks(), how, "me", NOW)[1])

    def retry(self) -> None:
        self.take(lifecycle.retry(self.job, self.chunks(), [], "me", "", NOW))

    def chunks(self) -> StoredChunks:
        return StoredChunks(self.job.key, {0: self.chunk}, lambda: None)

    def delta(self, *, deleted: bool = False) -> JobDelta:
        return JobDelta(
            self.before,
            self.job,
            changes=self.changes,
            chunks={0: self.chunk},
            earlier={0: self.earlier},
            attempts=self.attempts,
            deleted=deleted,
        )


def test_runs_that_began_and_ended_within_a_batch_are_all_counted():
    batch = Batch()
    batch.claim()
    batch.fail()
    batch.retry()
    batch.claim()
    made = {"a": Artifact("s3://b/a", size_bytes=7)}
    report = work.WorkReport(artifacts=made, job_artifacts=made)
    batch.take(work.complete(batch.job, batch.chunk, report, work.NO_RESULTS, NOW))
    waited = NOW - CREATED
    assert list(measures_of(batch.delta(), NOW)) == [
        (Measure.STARTED, bucket_of(waited), 1, waited),
        (Measure.FAILED_ATTEMPTS, 0, 1, 0),
        (Measure.FAILED, 0, 1, 0),
        (Measure.JOB_RETRIES, 0, 1, 0),
        (Measure.STARTED, 0, 1, 0),
        (Measure.CHUNKS, 0, 1, 0),
        (Measure.ITEMS, 0, 1, 5),
        (Measure.RETRIED_ATTEMPTS, 0, 1, 0),
        (Measure.COMPLETED, 0, 1, 0),
        (Measure.ARTIFACTS, 0, 1, 7),
        (Measure.ARTIFACTS, 0, 1, 7),
    ]


@pytest.mark.parametrize("seconds", [0, 0.0004, 0.5, 90])
def test_a_chunk_is_measured_from_its_last_claim_to_its_end(seconds: float):
    batch, took = Batch(), round(seconds * 1_000_000)
    batch.claim()
    batch.take(work.release(batch.job, batch.chunk, work.NOTHING_NEW, work.Release(), NOW))
    batch.claim()
    batch.before, batch.changes = batch.job, []
    batch.take(work.complete(batch.job, batch.chunk, work.NOTHING_NEW, work.NO_RESULTS, NOW + took))
    measured = list(measures_of(batch.delta(), NOW + took))
    assert measured[:2] == [(Measure.CHUNKS, bucket_of(took), 1, took), (Measure.ITEMS, 0, 1, 5)]
    assert Measure.RETRIED_ATTEMPTS not in {measure for measure, *_ in measured}, "a released attempt was none"


def test_a_run_that_was_cancelled_before_its_start_has_no_duration():
    batch = Batch()
    batch.claim()
    batch.fail()
    batch.retry()
    batch.cancel()
    assert list(measures_of(batch.delta(), NOW))[-1] == (Measure.CANCELLED, UNMEASURED, 1, 0)


def test_a_clock_that_was_set_back_makes_no_duration_below_0():
    batch = Batch()
    batch.claim()
    assert list(measures_of(batch.delta(), CREATED - 5)) == [(Measure.STARTED, 0, 1, 0)]


def test_counts_move_from_the_state_before_to_the_state_after():
    batch, statistics = Batch(), StatisticsDelta()
    batch.claim()
    statistics.add(batch.delta(), NOW)
    moved = {"QUEUED": (-1, -1, 0, *NOT_HELD, 0), "RUNNING": (1, 0, 1, *NOT_HELD, 0)}
    places = [(owner, kind) for owner in (ALL_OWNERS, "me") for kind in (ALL_KINDS, "k")]
    assert statistics.counts() == [((*place, state), moved[state]) for place in places for state in moved]
    deleted = StatisticsDelta()
    deleted.add(batch.delta(deleted=True), NOW)
    assert deleted.counts() == [((*place, "QUEUED"), moved["QUEUED"]) for place in places]


def test_nothing_is_written_for_what_counts_nothing():
    batch, statistics = Batch(), StatisticsDelta()
    statistics.add(batch.delta(), NOW)
    batch.claim()
    batch.take(work.release(batch.job, batch.chunk, work.NOTHING_NEW, work.Release(), NOW))
    batch.before, batch.changes = batch.job, batch.changes[-1:]
    statistics.add(batch.delta(), NOW)
    assert (statistics.counts(), statistics.rollups()) == ([], [])
