"""Rows of chunks to chunks, and back."""

from collections.abc import Sequence
from typing import Any, Final

from jobledger_service.core.model.chunk import NO_PROGRESS, Chunk, ChunkProgress, LeaseEnd
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState

from .cells import Row, artifacts_of, artifacts_text, error_of, error_text
from .tables import chunks

CHUNK_COLUMNS: Final = [
    column for column in chunks.c if column.name not in ("input", "owner", "kind", "priority", "parked")
]


def chunk_of(row: Sequence[Any]) -> Chunk:
    """Return the chunk of a row of CHUNK_COLUMNS."""
    (
        job_key,
        index,
        create_time,
        first_item,
        last_item,
        state,
        attempt,
        max_attempts,
        fence,
        lease_end,
        task_id,
        worker,
        done,
        stage,
        stage_percent,
        message,
        items_completed,
        stage_time,
        artifacts,
        error,
        start_time,
        end_time,
        lease_expire_time,
        not_before,
    ) = row
    progress = ChunkProgress(done, stage, stage_percent, message, items_completed)
    return Chunk(
        job_key=job_key,
        index=index,
        create_time=create_time,
        max_attempts=max_attempts,
        first_item=first_item,
        last_item=last_item,
        state=ChunkState(state),
        attempt=attempt,
        fence=fence,
        lease_end=None if lease_end is None else LeaseEnd(lease_end),
        task_id=task_id,
        worker=worker,
        progress=NO_PROGRESS if progress == NO_PROGRESS else progress,
        stage_time=stage_time,
        artifacts=artifacts_of(artifacts),
        error=error_of(error),
        start_time=start_time,
        end_time=end_time,
        lease_expire_time=lease_expire_time,
        not_before=not_before,
    )


def chunk_row(job: Job, chunk: Chunk) -> Row:
    """Return the columns of a chunk that change after its creation, and its key."""
    progress = chunk.progress
    return {
        "job_key": chunk.job_key,
        "chunk_index": chunk.index,
        "priority": job.priority,
        "state": chunk.state.value,
        "attempt": chunk.attempt,
        "max_attempts": chunk.max_attempts,
        "fence": chunk.fence,
        "lease_end": chunk.lease_end and chunk.lease_end.value,
        "task_id": chunk.task_id,
        "worker": chunk.worker,
        "done": progress.done,
        "stage": progress.stage,
        "stage_percent": progress.stage_percent,
        "message": progress.message,
        "items_completed": progress.items_completed,
        "stage_time": chunk.stage_time,
        "artifacts": artifacts_text(chunk.artifacts),
        "error": error_text(chunk.error),
        "start_time": chunk.start_time,
        "end_time": chunk.end_time,
        "lease_expire_time": chunk.lease_expire_time,
        "not_before": chunk.not_before,
        "parked": int(bool(job.parked_for)),
    }


def new_chunk_row(job: Job, chunk: Chunk, input_: bytes | None) -> Row:
    """Return all columns of a chunk."""
    row = chunk_row(job, chunk)
    row |= {
        "owner": job.spec.owner,
        "kind": job.spec.kind,
        "create_time": chunk.create_time,
        "input": input_,
        "first_item": chunk.first_item,
        "last_item": chunk.last_item,
    }
    return row
