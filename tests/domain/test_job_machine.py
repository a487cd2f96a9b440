"""Whatever callers, workers and time do to a job, its sums, its states and its percent keep their promises."""

from collections import Counter, defaultdict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from jobledger_service.core.model import lifecycle, updates, work
from jobledger_service.core.model.attempts import Attempt, latest_attempt, max_kept_attempts
from jobledger_service.core.model.chunk import AttemptOutcome, Chunk, WorkError
from jobledger_service.core.model.history.change import Step
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.job import FailurePolicy, JobSpec, Stage
from jobledger_service.core.model.leases import Lease, holds, lease_of
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.refusals.errors import (
    ChunkNotClaimable,
    InvalidField,
    JobEnded,
    JobStarted,
    NothingToRetry,
)
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import (
    CHUNK_TRANSITIONS,
    ENDED,
    JOB_TRANSITIONS,
    UNFINISHED,
    ChunkState,
    JobState,
)
from jobledger_service.core.write.stored_chunks import StoredChunks
from msgspec.structs import replace

from tests.support.examples import at_most

PLAN = (Stage("fetch", 5), Stage("work", 25), Stage("store", 10))
LEASE = 60_000_000
FAR = 10**15
OUTCOMES_OF = {
    ChunkState.COMPLETED: {AttemptOutcome.COMPLETED},
    ChunkState.FAILED: {AttemptOutcome.FAILED, AttemptOutcome.EXPIRED, AttemptOutcome.TIMED_OUT},
}


class JobMachine(RuleBasedStateMachine):
    """One job, its workers, its callers and a clock."""

    @initialize(
        items=st.one_of(st.none(), st.integers(1, 40)),
        size=st.integers(1, 15),
        attempts=st.integers(1, 3),
        policy=st.sampled_from(FailurePolicy),
        planned=st.booleans(),
        run_timeout=st.sampled_from([None, 10_000_000, 100_000_000]),
        attempt_timeout=st.sampled_from([None, 3_000_000, 70_000_000]),
        finalizer_work=st.none() | st.integers(1, 40_000_000),
        begins=st.sampled_from([None, 0, 2_000_000, FAR]),
    )
    def create(
        self,
        items: int | None,
        size: int,
        attempts: int,
        policy: FailurePolicy,
        planned: bool,
        run_timeout: int | None,
        attempt_timeout: int | None,
        finalizer_work: int | None,
        begins: int | None,
    ) -> None:
        spec = JobSpec(
            "o",
            "j",
            "k",
            b"",
            retry_policy=RetryPolicy(max_attempts=attempts, initial_backoff=1_000_000),
            failure_policy=policy,
            stages=PLAN if planned else (),
            run_timeout=run_timeout,
            attempt_timeout=attempt_timeout,
            finalizer_work=finalizer_work,
        )
        self.now = 1_000_000
        self.leases: list[Lease] = []
        self.completed: Counter[int] = Counter()
        self.earlier: defaultdict[int, list[Attempt]] = defaultdict(list)
        self.chunks: dict[int, Chunk] = {}
        self.timeouts: dict[int, int | None] = {}
        """How long the latest attempt at each chunk may take, as it was claimed."""
        new = lifecycle.NewJob(spec, lifecycle.sizes_of(items, size), schedule_time=begins)
        step = lifecycle.create(new, "caller", self.now)
        self.job, self.percent, self.run = step.job, 0.0, 0
        self.apply(step)

    def apply(self, step: Step | None) -> None:
        if step is None:
            return
        swept = step.sweep
        covered = [
            c for c in self.others() if swept and swept.covers(c) and c.index not in {o.index for o in step.chunks}
        ]
        assert len(covered) == (swept.count if swept else 0)
        for chunk in (*step.chunks, *(swept.applied(c) for c in covered if swept)):
            old = self.chunks.get(chunk.index)
            if old is not None and old.state is not chunk.state:
                assert chunk.state in CHUNK_TRANSITIONS[old.state]
                self.completed[chunk.index] += chunk.state is ChunkState.COMPLETED
            if old is not None and chunk.attempt_number > old.attempt_number and (kept := latest_attempt(old)):
                self.earlier[chunk.index].append(kept)
            self.chunks[chunk.index] = chunk
        if step.more_attempts:
            for index, chunk in self.chunks.items():
                if chunk.state in UNFINISHED:
                    self.chunks[index] = replace(chunk, max_attempts=chunk.max_attempts + step.more_attempts)
        self.job = step.job

    def others(self) -> list[Chunk]:
        return list(self.chunks.values())

    def all(self) -> StoredChunks:
        return StoredChunks(self.job.key, self.chunks, lambda: None)

    @rule(seconds=st.sampled_from([0, 1, 5, 59, 61, 400]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * 1_000_000

    @rule(index=st.integers(0, 39))
    def claim(self, index: int) -> None:
        chunk = self.chunks.get(index)
        if chunk is None or chunk.state is not ChunkState.PENDING or self.now < (chunk.next_attempt_time or 0):
            return
        if self.finalizer_waits(chunk) or self.job.held:
            with pytest.raises(ChunkNotClaimable):
                work.claim(self.job, chunk, work.Claim("w", LEASE), self.now)
            return
        self.apply(work.claim(self.job, chunk, work.Claim("w", LEASE), self.now))
        self.timeouts[index] = self.job.spec.attempt_timeout
        self.leases.append(lease_of(self.job, self.chunks[index]))

    def finalizer_waits(self, chunk: Chunk) -> bool:
        others = [one for one in self.others() if one is not chunk]
        completed = all(one.state is ChunkState.COMPLETED for one in others)
        return chunk.finalizer and chunk.state is ChunkState.PENDING and not completed

    @rule()
    def lift_schedule(self) -> None:
        time = self.job.held_until
        step = lifecycle.lift_schedule(self.job, self.now)
        assert (step is not None) == (time is not None and time <= self.now)
        self.apply(step)

    @rule(begins=st.sampled_from([None, 0, 30_000_000, FAR]))
    def reschedule(self, begins: int | None) -> None:
        new = updates.JobUpdate(frozenset({"schedule_time"}), schedule_time=begins)
        if self.job.schedule_time == begins:
            assert updates.update(self.job, new, "caller", self.now) is None
        elif self.job.state is not JobState.QUEUED or self.run:
            with pytest.raises(JobStarted):
                updates.update(self.job, new, "caller", self.now)
        else:
            self.apply(updates.update(self.job, new, "caller", self.now))
            assert self.job.held_until == (begins if begins is not None and begins > self.now else None)

    @rule(
        attempts=st.integers(1, 4),
        run_timeout=st.sampled_from([None, 10_000_000, 100_000_000]),
        attempt_timeout=st.sampled_from([None, 3_000_000, 70_000_000]),
    )
    def change_settings(self, attempts: int, run_timeout: int | None, attempt_timeout: int | None) -> None:
        before, held = self.job, [lease for lease in self.leases if self.held(lease)]
        policy = replace(before.spec.retry_policy, max_attempts=attempts)
        had = (before.spec.retry_policy, before.spec.run_timeout, before.spec.attempt_timeout)
        new = updates.JobUpdate(
            frozenset(updates.SETTINGS),
            retry_policy=policy,
            run_timeout=run_timeout,
            attempt_timeout=attempt_timeout,
        )
        waits = {c.index: c.next_attempt_time for c in self.others()}
        kept = {c.index: c.max_attempts for c in self.others() if c.state not in UNFINISHED}
        is_over = before.state is JobState.RUNNING and (
            before.has_timed_out(self.now)
            or (run_timeout is not None and (before.start_time or 0) + run_timeout <= self.now)
        )
        if had == (policy, run_timeout, attempt_timeout):
            assert updates.update(before, new, "caller", self.now) is None
            return
        if before.state is JobState.COMPLETED:
            with pytest.raises(JobEnded):
                updates.update(before, new, "caller", self.now)
            return
        if is_over and run_timeout != before.spec.run_timeout:
            with pytest.raises(InvalidField, match="run_timeout"):
                updates.update(before, new, "caller", self.now)
            return
        self.apply(updates.update(before, new, "caller", self.now))
        assert (self.job.state, self.job.counts, self.job.progress) == (before.state, before.counts, before.progress)
        assert all(map(self.held, held))
        assert waits == {c.index: c.next_attempt_time for c in self.others()}
        assert kept == {c.index: c.max_attempts for c in self.others() if c.state not in UNFINISHED}

    @rule()
    def lift_backoffs(self) -> None:
        for index in sorted(self.chunks):
            self.apply(work.lift_backoff(self.job, self.chunks[index], self.now))

    def held(self, lease: Lease) -> bool:
        return holds(lease, self.job, self.chunks[lease.index], self.now)

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        percent=st.one_of(st.none(), st.floats(0, 100)),
        stage=st.one_of(st.none(), st.sampled_from([stage.name for stage in PLAN])),
        stage_percent=st.one_of(st.none(), st.floats(0, 100)),
        part=st.one_of(st.none(), st.floats(0, 1)),
    )
    def heartbeat(
        self,
        data: st.DataObject,
        percent: float | None,
        stage: str | None,
        stage_percent: float | None,
        part: float | None,
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if not self.held(lease):
            return
        chunk = self.chunks[lease.index]
        items = None if part is None else int(chunk.items * part)
        report = work.WorkReport(ProgressReport(percent, stage, stage_percent, None, items))
        self.apply(work.heartbeat(self.job, chunk, report, LEASE, self.now))
        assert self.chunks[lease.index].progress.done >= chunk.progress.done

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "give up", "release", "leave"]))
    def end_lease(self, data: st.DataObject, how: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        chunk = self.chunks[lease.index]
        if not self.held(lease):
            return
        if how == "complete":
            self.apply(work.complete(self.job, chunk, work.WorkReport(), work.NO_RESULTS, self.now))
        elif how in ("release", "leave"):
            release = work.Release(unheard=how == "leave")
            self.apply(work.release(self.job, chunk, work.NOTHING_NEW, release, self.now))
        else:
            failure = work.Failure(WorkError("E"), 0.5, not_retryable=how == "give up")
            self.apply(work.fail(self.job, chunk, work.NOTHING_NEW, failure, self.all(), self.now))
        assert not self.held(lease)

    @rule()
    def expire(self) -> None:
        for index in sorted(self.chunks):
            self.apply(work.expire(self.job, self.chunks[index], 0.5, self.all(), self.now))

    @rule(grace=st.sampled_from([0, 30_000_000]), force=st.booleans())
    def cancel(self, grace: int, force: bool) -> None:
        ended = self.job.ended
        before = self.job
        how = lifecycle.Cancellation(grace, "enough", force)
        outcome, step = lifecycle.cancel(self.job, self.all(), how, "caller", self.now)
        self.apply(step)
        assert ended == (outcome is lifecycle.CancelOutcome.ALREADY_ENDED)
        if ended:
            assert self.job is before
        elif force:
            assert self.job.state is JobState.CANCELLED

    @rule()
    def end_overdue(self) -> None:
        before = self.job
        self.apply(lifecycle.end_overdue(self.job, self.all(), self.now))
        if before.has_timed_out(self.now):
            assert self.job.state is JobState.FAILED
            assert self.job.error is not None
            assert self.job.error.code == "TIMED_OUT"

    @precondition(lambda self: self.job.state in (JobState.QUEUED, JobState.RUNNING))
    @rule(data=st.data())
    def retry_chunk(self, data: st.DataObject) -> None:
        failed = [chunk for chunk in self.others() if chunk.state is ChunkState.FAILED]
        if not failed:
            return
        before, chunk = self.job, data.draw(st.sampled_from(failed))
        self.apply(lifecycle.retry(before, self.all(), [chunk.index], "caller", "", self.now))
        again = self.chunks[chunk.index]
        assert (again.state, again.max_attempts - again.attempt) == (
            ChunkState.PENDING,
            before.spec.retry_policy.max_attempts,
        )
        assert (self.job.state, self.job.retry_count, self.job.progress) == (
            before.state,
            before.retry_count,
            before.progress,
        )
        assert (self.job.first_failure is None) == (len(failed) == 1)

    @precondition(lambda self: self.job.state in (JobState.FAILED, JobState.CANCELLED))
    @rule(named=st.sets(st.integers(0, 39), max_size=3))
    def retry(self, named: set[int]) -> None:
        kept = {c.index for c in self.others() if c.state is ChunkState.COMPLETED}
        indexes = sorted(named & self.chunks.keys() - kept)
        try:
            step = lifecycle.retry(self.job, self.all(), indexes, "caller", "", self.now)
        except NothingToRetry:
            left = [c for c in self.others() if c.index not in kept and c.index not in indexes]
            assert self.chunks[indexes[-1]].finalizer
            assert left
            return
        self.percent, self.run = 0.0, self.run + 1
        self.apply(step)
        assert self.job.state is JobState.QUEUED
        assert (self.job.held_until, (self.job.schedule_time or 0) <= self.now) == (None, True)
        assert kept == {c.index for c in self.others() if c.state is ChunkState.COMPLETED}

    @invariant()
    def every_attempt_is_known_as_it_ended(self) -> None:
        for index, chunk in self.chunks.items():
            latest = latest_attempt(chunk)
            known = [*self.earlier[index], *([latest] if latest else [])]
            assert [one.number for one in known] == list(range(1, len(known) + 1))
            assert all(one.outcome and (one.end_time or 0) >= (one.start_time or 0) for one in self.earlier[index])
            assert [one.outcome is None for one in known[-1:]] in ([], [chunk.state is ChunkState.PROCESSING])
            if chunk.state in (ChunkState.COMPLETED, ChunkState.FAILED):
                ends = OUTCOMES_OF[chunk.state]
                assert latest is not None
                assert latest.outcome in ends
            assert chunk.attempt <= chunk.attempt_number + (latest is None)
        bound = max_kept_attempts(len(self.chunks))
        assert self.job.kept_attempts == sum(min(len(one), bound) for one in self.earlier.values())

    @invariant()
    def counts_are_those_of_the_chunks(self) -> None:
        counted = Counter(chunk.state for chunk in self.others())
        counts = self.job.counts
        assert {state: getattr(counts, state.lower()) for state in ChunkState} == {s: counted[s] for s in ChunkState}

    @invariant()
    def chunks_that_wait_for_their_next_attempt_or_for_others_are_counted_and_alone_held(self) -> None:
        held = {reason: [c for c in self.others() if reason in self.job.with_holds(c).holds] for reason in HoldReason}
        assert held[HoldReason.BACKOFF] == [chunk for chunk in self.others() if chunk.next_attempt_time is not None]
        assert held[HoldReason.FINALIZER] == [chunk for chunk in self.others() if self.finalizer_waits(chunk)]
        assert tuple(map(len, held.values())) == self.job.held_chunks()
        assert all(chunk.state is ChunkState.PENDING for chunks in held.values() for chunk in chunks)

    @invariant()
    def it_is_claimable_while_one_of_its_chunks_is(self) -> None:
        held = [self.job.with_holds(one).held for one in self.others() if one.state is ChunkState.PENDING]
        assert self.job.claimable == (0 in held)

    @invariant()
    def sums_are_those_of_the_chunks(self) -> None:
        progress = self.job.progress
        assert progress.work_done == sum(chunk.work_done for chunk in self.others())
        assert progress.items_completed == sum(chunk.items_done for chunk in self.others())
        assert progress.work_done <= progress.work_total

    @invariant()
    def percent_is_in_range_and_never_falls_in_a_run(self) -> None:
        percent = self.job.progress.percent
        assert 0 <= self.percent <= percent <= 100
        assert (percent == 100) or self.job.state is not JobState.COMPLETED
        self.percent = percent

    @invariant()
    def every_chunk_completes_at_most_once(self) -> None:
        assert all(count <= 1 for count in self.completed.values())

    @invariant()
    def the_state_is_what_the_chunks_call_for(self) -> None:
        job, counts = self.job, self.job.counts
        assert job.ended == (counts.pending + counts.processing == 0)
        assert (job.state is JobState.COMPLETED) == (counts.completed == counts.total)
        assert (job.error is not None) == (job.state is JobState.FAILED)
        assert (job.end_time is not None) == job.ended
        assert job.retry_count == self.run

    @invariant()
    def only_a_job_that_never_began_waits_for_its_time(self) -> None:
        if self.job.held_until is not None:
            assert (self.job.state, self.run, self.job.counts.completed) == (JobState.QUEUED, 0, 0)
            assert self.job.held_until == self.job.schedule_time

    @invariant()
    def only_what_ends_by_time_has_a_deadline(self) -> None:
        job, limit = self.job, self.job.spec.run_timeout
        if job.state is JobState.RUNNING:
            assert job.deadline == (None if limit is None else (job.start_time or 0) + limit)
            assert not (job.has_timed_out(self.now) and any(map(self.held, self.leases)))
        else:
            assert (job.deadline is not None) == (job.state is JobState.CANCELLING)

    @invariant()
    def only_chunks_in_work_have_a_lease(self) -> None:
        for chunk in self.others():
            assert (chunk.lease_expire_time is not None) == (chunk.state is ChunkState.PROCESSING)
            timeout = self.timeouts.get(chunk.index)
            if chunk.lease_expire_time is not None and timeout is not None:
                assert chunk.lease_expire_time <= (chunk.start_time or 0) + timeout
            had = chunk.max_attempts - self.job.spec.retry_policy.max_attempts
            assert chunk.state not in UNFINISHED or 0 <= had <= chunk.attempt
            assert (chunk.end_time is not None) == (chunk.state not in (ChunkState.PENDING, ChunkState.PROCESSING))

    def teardown(self) -> None:
        """No state is a dead end: a job can be brought from each one to COMPLETED, stopped before or not."""
        if not hasattr(self, "job"):
            return
        job, chunks = self.job, dict(self.chunks)
        if not self.job.ended:
            self.cancel(grace=0, force=True)
        self.finish()
        assert self.job.state is JobState.COMPLETED
        self.job, self.chunks = job, chunks
        for _ in range(2):  # of chunks that failed before, the job fails once more
            self.finish()
        assert self.job.state is JobState.COMPLETED

    def finish(self) -> None:
        """Let all leases and waits end, retry the job if it has ended, and complete what waits."""
        self.now += FAR
        self.expire()
        self.end_overdue()
        self.now += FAR
        self.lift_backoffs()
        if self.job.ended and self.job.state is not JobState.COMPLETED:
            self.apply(lifecycle.retry(self.job, self.all(), [], "c", "", self.now))
        if self.job.held:
            self.reschedule(None)
        for index in sorted(self.chunks):
            if self.chunks[index].state is ChunkState.PENDING and not self.finalizer_waits(self.chunks[index]):
                self.apply(work.claim(self.job, self.chunks[index], work.Claim("w", LEASE), self.now))
                done = work.WorkReport()
                self.apply(work.complete(self.job, self.chunks[index], done, work.NO_RESULTS, self.now))


JobMachine.TestCase.settings = at_most(60, steps=60)
TestJobMachine = JobMachine.TestCase


def test_ended_states_are_left_by_a_retry_alone():
    leaving = {state: JOB_TRANSITIONS[state] for state in ENDED}
    assert leaving == {
        JobState.COMPLETED: frozenset(),
        JobState.FAILED: frozenset({JobState.QUEUED}),
        JobState.CANCELLED: frozenset({JobState.QUEUED}),
    }
    assert CHUNK_TRANSITIONS[ChunkState.COMPLETED] == frozenset()


def test_a_lease_of_a_job_created_again_under_the_same_id_is_no_right():
    spec = JobSpec("o", "j", "k", b"", uid_bytes=b"1" * 16)
    first = lifecycle.create(lifecycle.NewJob(spec, [0]), "caller", 1)
    claimed = work.claim(first.job, first.chunks[0], work.Claim("w", LEASE), 2)
    again = replace(claimed.job, spec=replace(spec, uid_bytes=b"2" * 16))
    assert holds(lease_of(claimed.job, claimed.chunks[0]), claimed.job, claimed.chunks[0], 3)
    assert not holds(lease_of(claimed.job, claimed.chunks[0]), again, claimed.chunks[0], 3)
