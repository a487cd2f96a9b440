"""The changes that the model refuses: each with its reason, the state that forbids it, and nothing changed."""

from collections.abc import Callable

import pytest
from jobledger_service.core.model import lifecycle, updates, work
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.history.change import ChangeType, Step
from jobledger_service.core.model.job import Job, JobSpec, Stage
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.refusals.errors import (
    ChunkNotClaimable,
    ChunkNotFound,
    EtagMismatch,
    InvalidField,
    JobEnded,
    JobNotEnded,
    NothingToRetry,
    Refusal,
)
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.stored_chunks import StoredChunks
from msgspec.structs import replace

LEASE = 60_000_000
BY = work.Claim("w", LEASE)


def created(chunks: int = 1, *, plan: tuple[str, ...] = ()) -> tuple[Job, dict[int, Chunk]]:
    """Return a QUEUED job and its chunks, of ten items each."""
    spec = JobSpec("o", "j", "k", b"", stages=tuple(Stage(name, 1) for name in plan))
    step = lifecycle.create(lifecycle.NewJob(spec, [10] * chunks), "caller", 1)
    return step.job, {chunk.index: chunk for chunk in step.chunks}


def running(**options: tuple[str, ...]) -> tuple[Job, Chunk]:
    """Return a RUNNING job and its chunk under a lease."""
    job, chunks = created(**options)
    step = work.claim(job, chunks[0], BY, 2)
    return step.job, step.chunks[0]


def ended(state: JobState) -> tuple[Job, dict[int, Chunk]]:
    """Return a job of one chunk that was COMPLETED, or CANCELLED before it ran."""
    if state is JobState.COMPLETED:
        step = work.complete(*running(), work.WorkReport(), work.NO_RESULTS, 3)
        return step.job, {0: step.chunks[0]}
    job, chunks = created()
    _, cancelled = lifecycle.cancel(job, stored(job, chunks), lifecycle.Cancellation(0), "caller", 3)
    assert cancelled is not None
    assert cancelled.sweep is not None
    return cancelled.job, {0: cancelled.sweep.applied(chunks[0])}


def stored(job: Job, chunks: dict[int, Chunk]) -> StoredChunks:
    return StoredChunks(job.key, chunks, lambda: None)


def retry(job: Job, chunks: dict[int, Chunk], *indexes: int) -> Step:
    return lifecycle.retry(job, stored(job, chunks), indexes, "caller", "", 9)


def refusal_of(change: Callable[[], object], kind: type[Refusal], *parts: str) -> Refusal:
    """Return the refusal of a change, whose message has all of these parts."""
    with pytest.raises(kind) as caught:
        change()
    assert type(caught.value) is kind
    assert [part for part in parts if part not in str(caught.value)] == []
    return caught.value


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_a_job_in_work_is_neither_retried_nor_deleted_without_force(state: JobState):
    job, chunks = created()
    if state is JobState.RUNNING:
        step = work.claim(job, chunks[0], BY, 2)
        job, chunks = step.job, {0: step.chunks[0]}
    assert refusal_of(lambda: retry(job, chunks), JobNotEnded, "FAILED or CANCELLED").metadata["state"] == state
    refusal = refusal_of(lambda: lifecycle.delete(job, "caller", force=False), JobNotEnded, "cancel it first")
    assert (refusal.reason, refusal.metadata) == ("JOB_NOT_ENDED", {"job_id": "j", "state": state})
    assert lifecycle.delete(job, "caller", force=True).type is ChangeType.DELETED


def test_a_completed_job_is_final():
    job, chunks = ended(JobState.COMPLETED)
    assert job.state is JobState.COMPLETED
    refusal_of(lambda: retry(job, chunks), JobEnded, "is COMPLETED", "final")
    raised = updates.JobUpdate(frozenset({"priority"}), priority=9)
    refusal_of(lambda: updates.update(job, raised, "caller", 5), JobEnded, "priority")
    assert lifecycle.delete(job, "caller", force=False).type is ChangeType.DELETED
    outcome, step = lifecycle.cancel(job, stored(job, chunks), lifecycle.Cancellation(0), "caller", 9)
    assert (outcome, step) == (lifecycle.CancelOutcome.ALREADY_ENDED, None)


def test_a_retry_names_chunks_that_the_job_has_and_that_may_run_again():
    job, chunks = ended(JobState.CANCELLED)
    refusal = refusal_of(lambda: retry(job, chunks, 0, 7), ChunkNotFound, "no chunk 7", "0 to 0")
    assert refusal.metadata == {"job_id": "j", "chunk_index": "7"}
    again = retry(job, chunks, 0)
    assert (again.job.state, again.job.retry_count) == (JobState.QUEUED, 1)
    queued, pending = created(2)
    half = replace(queued, state=JobState.CANCELLED)
    refusal_of(lambda: retry(half, pending, 1), NothingToRetry, "chunk 1 is PENDING")


def test_an_update_that_changes_nothing_is_no_change_and_one_on_an_older_revision_is_refused():
    job, _ = created()
    same = updates.JobUpdate(frozenset({"priority", "display_name"}), priority=job.priority)
    assert updates.update(job, same, "caller", 5) is None
    lifecycle.check_etag(job, "")
    lifecycle.check_etag(job, job.etag)
    later = replace(job, revision=job.revision + 1)
    refusal = refusal_of(lambda: lifecycle.check_etag(later, job.etag), EtagMismatch, later.etag)
    assert refusal.metadata["etag"] == later.etag


def test_an_update_names_its_fields_in_order_and_then_its_reason():
    job, _ = created()
    new = updates.JobUpdate(frozenset({"priority", "display_name"}), priority=9, display_name="other")
    step = updates.update(job, new, "caller", 5, "it is urgent")
    assert step is not None
    assert step.change is not None
    assert (step.change.reason, step.job.priority) == ("display_name, priority; it is urgent", 9)


def test_a_chunk_is_claimed_only_while_it_waits_is_due_and_has_a_slot():
    job, held = running()
    refusal_of(lambda: work.claim(job, held, BY, 3), ChunkNotClaimable, "is PROCESSING", "held by a worker")
    done, chunks = ended(JobState.COMPLETED)
    refusal_of(lambda: work.claim(done, chunks[0], BY, 4), ChunkNotClaimable, "is COMPLETED", "not waiting")
    queued, waiting = created()
    later = replace(waiting[0], next_attempt_time=5)
    refusal_of(lambda: work.claim(queued, later, BY, 4), ChunkNotClaimable, "not yet due")
    assert work.lift_backoff(queued, later, 4) is None
    assert work.claim(queued, later, BY, 5).job.state is JobState.RUNNING
    parked = replace(queued, parked_for="o/kind:k")
    refusal_of(lambda: work.claim(parked, waiting[0], BY, 4), ChunkNotClaimable, "limit 'kind:k'")


@pytest.mark.parametrize(
    ("report", "field", "rule"),
    [
        (ProgressReport(stage="paint"), "progress.stage", "value 'paint' must be a stage of the job's plan: cut, glue"),
        (
            ProgressReport(stage="cut", passed=(("sand", 1),)),
            "progress.passed_stages[0].stage",
            "value 'sand' must be a stage",
        ),
        (
            ProgressReport(items_completed=11),
            "progress.items_completed",
            "value 11 must be at most the chunk's 10 items",
        ),
    ],
)
def test_a_report_keeps_to_the_plan_and_to_the_items(report: ProgressReport, field: str, rule: str):
    job, chunk = running(plan=("cut", "glue"))

    def beat() -> Step | None:
        return work.heartbeat(job, chunk, work.WorkReport(report), LEASE, 3)

    refused = refusal_of(beat, InvalidField, rule)
    assert isinstance(refused, InvalidField)
    assert [path for path, _ in refused.violations] == [field]
