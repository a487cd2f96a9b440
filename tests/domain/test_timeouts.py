"""A run and an attempt that take too long end as failures, and say so."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import datetimes, just
from jobledger_service.core.model import lifecycle, updates, work
from jobledger_service.core.model.durations import duration_text, time_text
from jobledger_service.core.model.history.change import ChangeType, Step
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.leases import holds, lease_of
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.write.stored_chunks import StoredChunks
from msgspec.structs import replace

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_000 * MINUTE
CLAIM = work.Claim("w", MINUTE)


def claimed(sizes: int = 1, tries: int = 2, **timeouts: int) -> Step:
    """Return a job whose first chunk is claimed, and that chunk."""
    spec = JobSpec("o", "j", "k", b"", retry_policy=RetryPolicy(tries, jitter=0), **timeouts)
    created = lifecycle.create(lifecycle.NewJob(spec, [1] * sizes), "caller", NOW)
    return work.claim(created.job, created.chunks[0], CLAIM, NOW)


def stored(step: Step) -> StoredChunks:
    return StoredChunks(step.job.key, {chunk.index: chunk for chunk in step.chunks}, lambda: None)


def beaten(step: Step, now: int) -> Step:
    """Return a job and its chunk after a heartbeat."""
    return work.heartbeat(step.job, step.chunks[0], work.NOTHING_NEW, None, now)


def expired(step: Step, now: int, delay: int = 0) -> Step | None:
    return work.expire(step.job, step.chunks[0], 0.5, stored(step), now, delay)


def timed_out(job: Job, step: Step, now: int, delay: int = 0) -> Step | None:
    return lifecycle.end_overdue(job, stored(step), now, delay)


def test_no_heartbeat_extends_a_lease_past_the_end_of_its_attempt():
    step = claimed(attempt_timeout=90 * SECOND)
    assert step.chunks[0].lease_expire_time == NOW + MINUTE
    for now, end in ((20, 80), (40, 90), (80, 90)):
        step = beaten(step, NOW + now * SECOND)
        assert step.chunks[0].lease_expire_time == NOW + end * SECOND
    assert step.chunks[0].lease_duration == MINUTE
    lease = lease_of(step.job, step.chunks[0])
    assert holds(lease, step.job, step.chunks[0], NOW + 90 * SECOND - 1)
    assert not holds(lease, step.job, step.chunks[0], NOW + 90 * SECOND)


def test_an_attempt_that_took_too_long_fails_with_backoff_and_on_the_last_one_for_good():
    step = beaten(claimed(attempt_timeout=90 * SECOND), NOW + 50 * SECOND)
    end = NOW + 90 * SECOND
    assert expired(step, end + 1, delay=2) is None
    failed = expired(step, end + 2, delay=2)
    assert failed is not None
    assert failed.change is not None
    [chunk] = failed.chunks
    assert (chunk.state, chunk.next_attempt_time) == (ChunkState.PENDING, end + 2 + SECOND)
    assert chunk.error is not None
    assert (chunk.error.code, chunk.error.message) == (
        "TIMED_OUT",
        "the attempt took longer than its attempt_timeout of 1m30s",
    )
    assert (failed.change.type, failed.change.reason) == (ChangeType.ATTEMPT_TIMED_OUT, chunk.error.message)
    waited = work.lift_backoff(failed.job, chunk, end + MINUTE)
    assert waited is not None
    again = work.claim(waited.job, waited.chunks[0], CLAIM, end + MINUTE)
    again = beaten(again, end + 100 * SECOND)
    assert again.chunks[0].lease_expire_time == end + MINUTE + 90 * SECOND
    last = expired(again, end + MINUTE + 90 * SECOND)
    assert last is not None
    assert (last.chunks[0].state, last.job.state) == (ChunkState.FAILED, JobState.FAILED)
    assert last.job.error is not None
    assert (last.job.error.code, last.job.error.chunk_index) == ("TIMED_OUT", 0)


def test_a_silent_worker_loses_its_lease_before_its_attempt_has_taken_too_long():
    failed = expired(claimed(attempt_timeout=90 * SECOND), NOW + MINUTE)
    assert failed is not None
    assert failed.chunks[0].error is not None
    assert failed.chunks[0].error.code == "LEASE_EXPIRED"


def test_a_run_that_took_too_long_fails_its_job_and_stops_its_chunks():
    step = claimed(sizes=3, run_timeout=2 * MINUTE)
    job, end = step.job, NOW + 2 * MINUTE
    chunk = beaten(step, end - 1).chunks[0]
    lease = lease_of(job, chunk)
    assert holds(lease, job, chunk, end - 1)
    assert not holds(lease, job, chunk, end)
    assert timed_out(job, step, end + 1, delay=2) is None
    over = timed_out(job, step, end + 2, delay=2)
    assert over is not None
    assert over.job.error is not None
    assert over.change is not None
    assert over.sweep is not None
    assert over.job.state is JobState.FAILED
    assert (over.job.counts.cancelled, over.sweep.count, over.job.deadline) == (3, 3, None)
    assert (over.job.error.code, over.job.error.message) == (
        "TIMED_OUT",
        "the job ran longer than its run_timeout of 2m",
    )
    assert (over.change.type, over.change.reason) == (ChangeType.RUN_TIMED_OUT, over.job.error.message)


def test_a_retry_starts_the_clock_of_the_run_anew():
    step = claimed(run_timeout=2 * MINUTE)
    over = timed_out(step.job, step, NOW + 2 * MINUTE)
    assert over is not None
    assert over.sweep is not None
    stopped = over.sweep.applied(step.chunks[0])
    again = lifecycle.retry(over.job, stored(Step(over.job, (stopped,))), [], "caller", "", NOW + 3 * MINUTE)
    assert (again.job.deadline, again.job.first_failure) == (None, None)
    assert again.sweep is not None
    later = work.claim(again.job, again.sweep.applied(stopped), CLAIM, NOW + 9 * MINUTE)
    assert later.job.deadline == NOW + 11 * MINUTE


@pytest.mark.parametrize(("grace", "deadline"), [(30, 30), (300, 120)])
def test_a_cancelled_job_ends_with_its_grace_period_and_not_after_its_run(grace: int, deadline: int):
    step = claimed(run_timeout=2 * MINUTE)
    how = lifecycle.Cancellation(grace * SECOND)
    _, cancelled = lifecycle.cancel(step.job, stored(step), how, "caller", NOW)
    assert cancelled is not None
    assert cancelled.job.deadline == NOW + deadline * SECOND
    assert timed_out(cancelled.job, step, NOW + deadline * SECOND - 1) is None
    over = timed_out(cancelled.job, step, NOW + deadline * SECOND)
    assert over is not None
    assert over.job.state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0s"), (5 * MINUTE, "5m"), (90 * MINUTE, "1h30m"), (2_500_000, "2.5s"), (366 * 24 * 60 * MINUTE, "366d")],
)
def test_durations_are_written_in_their_units(micros: int, text: str):
    assert duration_text(micros) == text


@given(datetimes(min_value=datetime(1600, 1, 1), timezones=just(UTC)))  # noqa: DTZ001  Hypothesis adds the zone
def test_times_are_written_as_rfc_3339_has_them(moment: datetime):
    micros = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    assert time_text(micros) == moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def changed(step: Step, now: int, **settings: int | None) -> Job:
    """Return the job after a caller changed some of its time-outs."""
    made = updates.update(step.job, updates.JobUpdate(frozenset(settings), **settings), "caller", now)
    assert made is not None
    return made.job


@pytest.mark.parametrize("timeout", [None, 30 * SECOND, 120 * SECOND])
def test_an_attempt_keeps_the_limit_with_which_it_was_claimed(timeout: int | None):
    step = claimed(attempt_timeout=90 * SECOND)
    job = changed(step, NOW + SECOND, attempt_timeout=timeout)
    step = work.heartbeat(job, step.chunks[0], work.NOTHING_NEW, 10 * MINUTE, NOW + 20 * SECOND)
    assert step.chunks[0].lease_expire_time == NOW + 90 * SECOND
    ended = expired(step, NOW + 90 * SECOND)
    assert ended is not None
    assert ended.change is not None
    assert ended.change.type is ChangeType.ATTEMPT_TIMED_OUT
    assert ended.change.reason == "the attempt took longer than its attempt_timeout of 1m30s"


def test_an_attempt_that_was_claimed_without_a_limit_gets_none_and_one_of_an_older_server_has_its_jobs():
    step = claimed()
    job = changed(step, NOW, attempt_timeout=90 * SECOND)
    for kept, minutes in (step.chunks[0], 10), (replace(step.chunks[0], attempt_timeout=None), 1.5):
        beat = work.heartbeat(job, kept, work.NOTHING_NEW, 10 * MINUTE, NOW)
        assert beat.chunks[0].lease_expire_time == NOW + minutes * MINUTE


def test_a_run_ends_at_its_start_and_the_new_limit_and_no_change_revives_one_that_is_over():
    step = claimed(run_timeout=10 * MINUTE)
    job = changed(step, NOW + MINUTE, run_timeout=2 * MINUTE)
    assert timed_out(job, step, NOW + 2 * MINUTE - 1) is None
    assert timed_out(job, step, NOW + 2 * MINUTE) is not None
    for timeout in (None, 20 * MINUTE):
        with pytest.raises(
            InvalidField, match="run_timeout: must not change after the run reached its present one, 2m"
        ):
            changed(replace(step, job=job), NOW + 2 * MINUTE, run_timeout=timeout)
    with pytest.raises(InvalidField, match="run_timeout: value 1m must be more than the run has taken, 1m"):
        changed(step, NOW + MINUTE, run_timeout=MINUTE)
    unlimited = changed(step, NOW + MINUTE, run_timeout=None)
    assert (unlimited.deadline, timed_out(unlimited, step, NOW + 60 * MINUTE)) == (None, None)
