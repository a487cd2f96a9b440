"""The states and statuses of the contract under short names."""

from jobledger.v1.chunk_pb2 import ChunkState
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.worker_service_pb2 import LeaseStatus

QUEUED = JobState.JOB_STATE_QUEUED
RUNNING = JobState.JOB_STATE_RUNNING
CANCELLING = JobState.JOB_STATE_CANCELLING
COMPLETED = JobState.JOB_STATE_COMPLETED
FAILED = JobState.JOB_STATE_FAILED
CANCELLED = JobState.JOB_STATE_CANCELLED

CHUNK_PENDING = ChunkState.CHUNK_STATE_PENDING
CHUNK_PROCESSING = ChunkState.CHUNK_STATE_PROCESSING
CHUNK_COMPLETED = ChunkState.CHUNK_STATE_COMPLETED
CHUNK_FAILED = ChunkState.CHUNK_STATE_FAILED
CHUNK_CANCELLED = ChunkState.CHUNK_STATE_CANCELLED

OK = LeaseStatus.LEASE_STATUS_OK
CANCEL_REQUESTED = LeaseStatus.LEASE_STATUS_CANCEL_REQUESTED
LEASE_LOST = LeaseStatus.LEASE_STATUS_LEASE_LOST
REFUSED = LeaseStatus.LEASE_STATUS_REFUSED


def summary(job: Job) -> dict[str, int]:
    """Return the counts of a job's chunks, without those that are 0, having checked that they add up."""
    counts = {field.name: value for field, value in job.chunks_summary.ListFields()}
    assert counts["total"] == sum(counts.values()) - counts["total"]
    return counts


def chunk_states(job: Job) -> list[ChunkState]:
    """Return the state of each chunk, by index."""
    assert [chunk.index for chunk in job.chunks] == list(range(len(job.chunks)))
    return [chunk.state for chunk in job.chunks]
