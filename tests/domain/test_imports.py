"""Every import that is taken is a state that callers, workers and time could have brought a job to here."""

from collections import Counter

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from jobledger_service.core.model import lifecycle, work
from jobledger_service.core.model.chunk import Chunk, WorkError
from jobledger_service.core.model.history.change import Step
from jobledger_service.core.model.job import FailurePolicy, Job, JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.write.stored_chunks import StoredChunks
from jobledger_service.features.imports.imported_job import ChunkEnd, ImportedJob, default_end, import_job
from jobledger_service.features.imports.rules import check
from msgspec.structs import replace

CREATED, NOW = 1_000, 10_000
LEASE = 1_000_000
PENDING, DONE, FAILED, CANCELLED = ChunkState.PENDING, ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED
STATES = (JobState.QUEUED, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
BOOM = WorkError("BOOM")

times = st.one_of(st.none(), st.integers(CREATED - 1, NOW + 1), st.just(CREATED + 5))
ends = st.builds(
    ChunkEnd,
    st.sampled_from((DONE, FAILED, CANCELLED)),
    start_time=times,
    end_time=times,
    error=st.sampled_from((None, WorkError("OOM"))),
    attempt=st.one_of(st.none(), st.integers(0, 5)),
)


@st.composite
def histories(draw: st.DrawFn) -> ImportedJob:
    """Draw a job as another system may tell of it: about half of these cannot have been."""
    state = draw(st.sampled_from(STATES))
    spec = JobSpec(
        "o", "j", "k", b"",
        retry_policy=RetryPolicy(max_attempts=draw(st.integers(1, 3))),
        failure_policy=draw(st.sampled_from(FailurePolicy)),
    )  # fmt: skip
    ran = draw(st.booleans()) or state in (JobState.COMPLETED, JobState.FAILED)
    sizes = [1] * draw(st.integers(1, 4))
    return ImportedJob(
        NewJob(spec, sizes),
        state,
        CREATED,
        start_time=CREATED + 5 if ran and state is not JobState.QUEUED else None,
        end_time=None if state is JobState.QUEUED else NOW,
        error=BOOM if state is JobState.FAILED else None,
        retry_count=draw(st.integers(0, 3)),
        chunks=draw(st.dictionaries(st.integers(-1, 4), ends, max_size=4)),
    )


def is_taken(imported: ImportedJob) -> bool:
    try:
        check(imported, NOW)
    except InvalidField:
        return False
    return True


class Replay:
    """Brings a new job to where an imported one says that it is, by what callers and workers can do."""

    def __init__(self, imported: ImportedJob) -> None:
        self.past = imported
        self.policy = imported.new.spec.retry_policy.max_attempts
        self.now = CREATED
        self.chunks: dict[int, Chunk] = {}
        self.apply(lifecycle.create(imported.new, "caller", self.now))

    def apply(self, step: Step | None) -> None:
        assert step is not None
        self.job: Job = step.job
        self.chunks.update({chunk.index: chunk for chunk in step.chunks})
        if (sweep := step.sweep) is not None:
            self.chunks = {i: sweep.applied(one) if sweep.covers(one) else one for i, one in self.chunks.items()}

    def all(self) -> StoredChunks:
        return StoredChunks(self.job.key, self.chunks, lambda: None)

    def end(self, index: int) -> ChunkEnd:
        return self.past.chunks.get(index, default_end(self.past))

    @property
    def runs(self) -> int:
        return self.past.retry_count + (self.past.start_time is not None)

    def last_runs(self) -> dict[int, int]:
        """Return in which run each chunk comes to its end, as late as can be; with FAIL_FAST one failure a run."""
        fails_fast = self.past.new.spec.failure_policy is FailurePolicy.FAIL_FAST
        left_over = {CANCELLED} if self.past.state is JobState.FAILED and not fails_fast else set()
        left_over |= {FAILED} if self.past.state is JobState.CANCELLED and fails_fast else set()
        started = self.past.start_time is not None
        found = {i: self.runs - (started and self.end(i).state in left_over) for i in self.chunks}
        if fails_fast:
            failed = [i for i in found if self.end(i).state is FAILED]
            failed.sort(key=lambda i: self.past.attempts(self.end(i)), reverse=True)
            found |= {i: found[i] - n for n, i in enumerate(failed)}
        return found

    def run(self) -> Job:
        last = self.last_runs()
        for run in range(1, self.runs + 1):
            self.work(run, last)
            if run <= self.past.retry_count:
                self.cancel()
                again = [i for i, chunk in self.chunks.items() if chunk.state is not DONE and last[i] > run]
                # What is left over stays as it is; of a run that never began nothing is.
                again = again or [i for i in self.chunks if self.end(i).state in (PENDING, CANCELLED)]
                self.apply(lifecycle.retry(self.job, self.all(), again, "caller", "", self.now))
        if self.past.state is JobState.CANCELLED:
            self.cancel()
        return self.job

    def work(self, run: int, last: dict[int, int]) -> None:
        """Do what is due in a run. A failure may end it for all others, and so the failures come last."""
        is_last = run > self.past.retry_count
        order = sorted(
            self.chunks, key=lambda i: (self.end(i).state is FAILED and last[i] == run, self.end(i).state is DONE, i)
        )
        order = [i for i in order if self.chunks[i].state is PENDING]
        finishes = (
            is_last and self.past.state is JobState.CANCELLED and all(self.end(i).state is not CANCELLED for i in order)
        )
        done = [i for i in order if self.end(i).state is DONE]
        kept = done[-1] if finishes and done else None  # it completes when the job is CANCELLING
        for index in [i for i in order if i != kept]:
            self.attempt(index, last[index] - run)
        if kept is not None:
            self.attempt(kept, last[kept] - run, cancels=True)
        if is_last and self.job.state is JobState.QUEUED:
            index = order[0]
            self.apply(work.claim(self.job, self.chunks[index], work.Claim("w", LEASE), self.now))
            self.apply(work.release(self.job, self.chunks[index], work.NOTHING_NEW, work.Release(), self.now))

    def attempt(self, index: int, runs_left: int, *, cancels: bool = False) -> None:
        end, policy = self.end(index), self.past.new.spec.retry_policy.max_attempts
        wanted = 0 if end.state is PENDING else self.past.attempts(end)
        due = max(wanted - self.chunks[index].attempt - runs_left * policy, 0)
        for n in range(due):
            self.apply(work.claim(self.job, self.chunks[index], work.Claim("w", LEASE), self.now))
            chunk = self.chunks[index]
            if n < due - 1:
                self.apply(work.fail(self.job, chunk, work.NOTHING_NEW, work.Failure(BOOM, 0.5), self.all(), self.now))
                self.now += 10**12
            elif not runs_left and end.state is DONE:
                if cancels:
                    self.cancel(force=False)
                self.apply(work.complete(self.job, self.chunks[index], work.WorkReport(), work.NO_RESULTS, self.now))
            elif not runs_left and end.state is FAILED:
                failure = work.Failure(end.error or self.past.error or BOOM, 0.5, not_retryable=True)
                self.apply(work.fail(self.job, chunk, work.NOTHING_NEW, failure, self.all(), self.now))

    def cancel(self, *, force: bool = True) -> None:
        how = lifecycle.Cancellation(LEASE, force=force)
        if not self.job.ended:
            _, step = lifecycle.cancel(self.job, self.all(), how, "caller", self.now)
            self.apply(step)


@pytest.mark.guarantee("3b.7")
@given(histories())
def test_an_import_that_is_taken_is_a_state_that_the_domain_reaches(imported: ImportedJob):
    taken = is_taken(imported)
    event("taken" if taken else "refused")
    assume(taken)
    step = import_job(imported, "caller")
    replay = Replay(imported)
    reached = replay.run()
    assert (reached.state, reached.counts, reached.retry_count) == (
        step.job.state,
        step.job.counts,
        step.job.retry_count,
    )
    for chunk in step.chunks:
        there = replay.chunks[chunk.index]
        assert (chunk.state, chunk.attempt) == (there.state, there.attempt)
        assert (chunk.error is None) <= (chunk.state is not FAILED)
        assert chunk.attempt <= chunk.max_attempts
    assert (reached.error is None) == (step.job.error is None)


@given(histories())
def test_an_import_keeps_the_promises_of_a_job_and_can_continue(imported: ImportedJob):
    assume(is_taken(imported))
    step = import_job(imported, "caller")
    job, chunks = step.job, {chunk.index: chunk for chunk in step.chunks}
    counted = Counter(chunk.state for chunk in chunks.values())
    assert {state: getattr(job.counts, state.lower()) for state in ChunkState} == {s: counted[s] for s in ChunkState}
    assert job.progress.work_done == sum(chunk.work_done for chunk in chunks.values())
    assert job.ended == (job.counts.pending + job.counts.processing == 0)
    assert (job.error is not None) == (job.state is JobState.FAILED)
    assert (job.end_time is not None) == job.ended
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        again = lifecycle.retry(job, StoredChunks(job.key, chunks, lambda: None), [], "caller", "", NOW)
        assert again.sweep is not None
        sweep, job = again.sweep, again.job
        chunks = {index: sweep.applied(one) if sweep.covers(one) else one for index, one in chunks.items()}
    for index in sorted(chunks):
        if chunks[index].state is PENDING:
            claimed = work.claim(job, chunks[index], work.Claim("w", LEASE), NOW)
            ended = work.complete(claimed.job, claimed.chunks[0], work.WorkReport(), work.NO_RESULTS, NOW)
            job = ended.job
    assert job.state is JobState.COMPLETED


def test_what_cannot_have_been_is_refused():
    one = NewJob(JobSpec("o", "j", "k", b""), [1, 1])
    fast = NewJob(JobSpec("o", "j", "k", b"", failure_policy=FailurePolicy.FAIL_FAST), [1, 1])
    queued = ImportedJob(one, JobState.QUEUED, CREATED)
    cancelled = ImportedJob(one, JobState.CANCELLED, CREATED, CREATED, NOW)
    failed = ImportedJob(one, JobState.FAILED, CREATED, CREATED, NOW, BOOM)
    done, broken = ChunkEnd(DONE), ChunkEnd(FAILED)
    for imported in (
        replace(queued, chunks={0: done, 1: done}, retry_count=1),
        replace(queued, chunks={0: done}),
        replace(cancelled, chunks={0: broken}),
        replace(cancelled, start_time=None, chunks={0: done}),
        replace(cancelled, chunks={0: done, 1: done}),
        replace(cancelled, chunks={0: ChunkEnd(FAILED, error=BOOM), 1: ChunkEnd(FAILED, error=BOOM)}),
        replace(failed, chunks={0: done, 1: done}),
        replace(failed, chunks={0: ChunkEnd(CANCELLED)}),
        replace(failed, new=fast),
        replace(failed, start_time=None),
        replace(failed, chunks={0: ChunkEnd(FAILED, attempt=9)}),
        replace(failed, chunks={0: ChunkEnd(FAILED, attempt=0)}),
        replace(failed, error=WorkError("BOOM", chunk_index=2)),
    ):
        assert not is_taken(imported), imported
