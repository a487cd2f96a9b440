"""Jobs that come from another system, with the times and the end that they had there."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from .change import Change, ChangeType, Step
from .chunk import NO_ARTIFACTS, WHOLE, Artifacts, Chunk, ChunkProgress, WorkError
from .errors import InvalidField
from .job import Job, counts_of
from .lifecycle import NewJob, create
from .states import ENDED, ChunkState, JobState


class ChunkEnd(Struct, frozen=True):
    """How a chunk ended; what is None is as the job's."""

    state: ChunkState
    task_id: str = ""
    worker: str = ""
    start_time: int | None = None
    end_time: int | None = None
    error: WorkError | None = None
    attempt: int | None = None


class PastJob(Struct, frozen=True):
    """A job as it stands in the system that it comes from; times in microseconds since 1970."""

    new: NewJob
    state: JobState
    create_time: int
    start_time: int | None = None
    end_time: int | None = None
    error: WorkError | None = None
    result_uri: str = ""
    artifacts: Artifacts = NO_ARTIFACTS
    retry_count: int = 0
    cancel_reason: str = ""
    chunks: Mapping[int, ChunkEnd] = {}


_CHUNK_STATES = {
    JobState.QUEUED: ChunkState.PENDING,
    JobState.COMPLETED: ChunkState.COMPLETED,
    JobState.FAILED: ChunkState.FAILED,
    JobState.CANCELLED: ChunkState.CANCELLED,
}
_ALLOWED = {
    JobState.QUEUED: {ChunkState.COMPLETED},
    JobState.COMPLETED: {ChunkState.COMPLETED},
    JobState.FAILED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
    JobState.CANCELLED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
}


def check(past: PastJob, now: int) -> None:
    """Raise InvalidField for a history that cannot have been."""
    broken: list[tuple[str, str]] = []
    ended = past.state in ENDED
    if past.create_time > now:
        broken.append(("create_time", "is in the future"))
    if past.start_time is not None and past.start_time < past.create_time:
        broken.append(("start_time", "is before create_time"))
    if ended != (past.end_time is not None):
        broken.append(("end_time", f"is {'required' if ended else 'not'} for a job that is {past.state}"))
    elif past.end_time is not None and not (past.start_time or past.create_time) <= past.end_time <= now:
        broken.append(("end_time", "is before the start, or in the future"))
    if not ended and past.start_time is not None:
        broken.append(("start_time", "is not for a job that is QUEUED"))
    for name, given, state in (
        ("error", past.error is not None, JobState.FAILED),
        ("result_uri", bool(past.result_uri), JobState.COMPLETED),
        ("cancel_reason", bool(past.cancel_reason), JobState.CANCELLED),
    ):
        if given and past.state is not state:
            broken.append((name, f"is only for a job that is {state}, not {past.state}"))
    if past.state is JobState.FAILED and past.error is None:
        broken.append(("error", "is required for a job that is FAILED"))
    broken += _broken_chunks(past, now)
    if broken:
        raise InvalidField(*broken)


def _broken_chunks(past: PastJob, now: int) -> list[tuple[str, str]]:
    broken = []
    total, allowed = len(past.new.sizes), _ALLOWED[past.state]
    for index, end in past.chunks.items():
        if not 0 <= index < total:
            broken.append(("chunks", f"chunk {index} is not one of the job's {total}"))
        elif end.state not in allowed:
            names = ", ".join(sorted(allowed))
            broken.append(("chunks", f"chunk {index} is {end.state}: of a {past.state} job it may be {names}"))
        elif not past.create_time <= (end.start_time or past.create_time) <= (end.end_time or now) <= now:
            broken.append(
                ("chunks", f"chunk {index} begins before create_time, or ends before it begins or in the future")
            )
    states = {end.state for end in past.chunks.values()}
    if past.state is JobState.FAILED and len(past.chunks) == total and ChunkState.FAILED not in states:
        broken.append(("chunks", "of a FAILED job at least one is FAILED"))
    return broken


def imported(past: PastJob, actor: str) -> Step:
    """Return the job and its chunks as they ended, in one entry of the ledger."""
    step = create(past.new, actor, past.create_time)
    usual = _ending(past, ChunkEnd(_CHUNK_STATES[past.state]))
    chunks = tuple(_ended(past, chunk, usual) for chunk in step.chunks)
    change = Change(ChangeType.IMPORTED, actor, None, past.state)
    return Step(_with_end(past, step.job, chunks), chunks, change)


def _with_end(past: PastJob, job: Job, chunks: Sequence[Chunk]) -> Job:
    done = sum(chunk.work_done for chunk in chunks)
    progress = replace(
        job.progress,
        work_done=done,
        items_completed=sum(chunk.items_done for chunk in chunks),
        percent=done * 100 / job.progress.work_total,
    )
    return replace(
        job,
        state=past.state,
        counts=counts_of(chunks),
        progress=progress,
        start_time=past.start_time,
        end_time=past.end_time,
        first_failure=past.error,
        declared_result=past.result_uri,
        artifacts=past.artifacts,
        retry_count=past.retry_count,
        cancel_reason=past.cancel_reason,
    )


def _ended(past: PastJob, chunk: Chunk, usual: Mapping[str, object]) -> Chunk:
    end = past.chunks.get(chunk.index)
    changes = usual if end is None else _ending(past, end)
    if end is not None and (end.attempt or 0) > chunk.max_attempts:
        changes = {**changes, "max_attempts": end.attempt}
    if changes.get("state") is ChunkState.COMPLETED:
        changes = {**changes, "progress": _whole(chunk.items)}
    return replace(chunk, **changes)


@lru_cache(maxsize=1_024)
def _whole(items: int) -> ChunkProgress:
    return ChunkProgress(done=WHOLE, items_completed=items)


def _ending(past: PastJob, end: ChunkEnd) -> Mapping[str, object]:
    """Return what a chunk that ended so differs in from one that begins."""
    if end.state is ChunkState.PENDING:
        return {}
    ran = past.start_time is not None or end.start_time is not None
    return {
        "state": end.state,
        "task_id": end.task_id,
        "worker": end.worker,
        "attempt": int(ran) if end.attempt is None else end.attempt,
        "start_time": end.start_time or past.start_time,
        "end_time": end.end_time or past.end_time or past.create_time,
        "error": end.error or past.error if end.state is ChunkState.FAILED else None,
    }
