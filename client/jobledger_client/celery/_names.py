"""Ids and names of Celery tasks. The id names the chunk, as Celery's events carry nothing else."""

from uuid import uuid4

TASK_NAME_PREFIX = "jobledger."
"""The prefix of a task's name; the kind follows."""


def task_id_for(job_id: str, chunk_index: int) -> str:
    """Return a new id for a task that works on this chunk."""
    return f"{job_id}:{chunk_index}:{uuid4().hex[:8]}"


def chunk_of(task_id: str) -> tuple[str, int] | None:
    """Return job_id and chunk index of a task; None for a task without a chunk."""
    job_id, _, rest = task_id.rpartition(":")
    job_id, _, index = job_id.rpartition(":")
    return (job_id, int(index)) if job_id and rest and index.isdecimal() else None
