"""The id of a Celery task names its chunk: events of Celery carry nothing but the id."""

from uuid import uuid4

NAME = "jobledger."
"""What the names of the tasks begin with; the kind follows."""


def task_id_for(job_id: str, chunk_index: int) -> str:
    """Return a new id for a task that is to work on this chunk."""
    return f"{job_id}:{chunk_index}:{uuid4().hex[:8]}"


def chunk_of(task_id: str) -> tuple[str, int] | None:
    """Return job_id and chunk index of a task; None when the task is none of ours."""
    job_id, _, rest = task_id.rpartition(":")
    job_id, _, index = job_id.rpartition(":")
    return (job_id, int(index)) if job_id and rest and index.isdecimal() else None
