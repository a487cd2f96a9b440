"""What the service shows, compared with what the model has."""

from jobledger.v1.chunk_pb2 import AttemptOutcome, HoldReason
from jobledger.v1.job_pb2 import Job as Shown

from tests.fuzz.ledger_model import Job
from tests.support.states import (
    CANCELLED,
    CANCELLING,
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    QUEUED,
    RUNNING,
)

STATES = (QUEUED, RUNNING, CANCELLING, COMPLETED, FAILED, CANCELLED)
CHUNK_STATES = {
    "pending": CHUNK_PENDING,
    "processing": CHUNK_PROCESSING,
    "completed": CHUNK_COMPLETED,
    "failed": CHUNK_FAILED,
    "cancelled": CHUNK_CANCELLED,
}
OUTCOMES = {number: name.removeprefix("ATTEMPT_OUTCOME_") for name, number in AttemptOutcome.items()} | {0: ""}


def assert_same(shown: Shown, job: Job) -> None:
    """Hold that a job is shown as the model has it."""
    assert (shown.owner, shown.kind, shown.state, shown.revision, shown.priority, dict(shown.labels)) == (
        job.owner,
        job.kind,
        job.state,
        job.revision,
        job.priority,
        job.labels,
    )
    assert (shown.retry_count, shown.cancel_reason) == (job.retry_count, job.cancel_reason)
    assert (shown.uid, shown.etag in job.etags) == (job.uid, bool(job.etag)), "an etag is not given again"
    assert shown.etag == (job.etag or shown.etag)
    job.etag = shown.etag
    job.etags.add(shown.etag)
    assert abs(shown.progress.percent - job.percent) < 1e-3, (shown.progress.percent, job.percent)
    summary = {name: getattr(shown.chunks_summary, name) for name in CHUNK_STATES}
    assert summary == {name: job.count(state) for name, state in CHUNK_STATES.items()}
    chunks = [(chunk.state, chunk.attempt, chunk.max_attempts) for chunk in shown.chunks]
    assert chunks == [(chunk.state, chunk.attempt, chunk.max_attempts) for chunk in job.chunks]
    items = sum(chunk.items for chunk in job.chunks if chunk.state == CHUNK_COMPLETED)
    assert (shown.progress.items_completed, shown.progress.items_total) == (items, sum(c.items for c in job.chunks))
    outputs = [job.output if job.state == COMPLETED else None, *(chunk.output for chunk in job.chunks)]
    assert [one.output["n"] if one.HasField("output") else None for one in (shown, *shown.chunks)] == outputs
    waits = job.begins_at is not None and job.state == QUEUED
    assert shown.HasField("schedule_time") == (job.begins_at is not None)
    assert [hold.reason for hold in shown.holds] == [HoldReason.HOLD_REASON_SCHEDULE] * waits
    assert shown.HasField("error") == (job.state == FAILED)
    assert not shown.HasField("error") or shown.error.chunk_index == job.error_of
