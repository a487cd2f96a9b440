"""Jobs from another system, with their times and their ends there."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.chunk import (
    NO_ARTIFACTS,
    TIMED_OUT,
    WHOLE,
    Artifacts,
    AttemptOutcome,
    Chunk,
    ChunkProgress,
    WorkError,
    stored_bytes,
)
from jobledger_service.core.model.counts import counts_of
from jobledger_service.core.model.history.change import Change, ChangeType, Step
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import ChunkState, JobState

_CHUNK_STATES = {
    JobState.QUEUED: ChunkState.PENDING,
    JobState.COMPLETED: ChunkState.COMPLETED,
    JobState.FAILED: ChunkState.FAILED,
    JobState.CANCELLED: ChunkState.CANCELLED,
}
_OUTCOMES = {
    ChunkState.COMPLETED: AttemptOutcome.COMPLETED,
    ChunkState.FAILED: AttemptOutcome.FAILED,
    ChunkState.CANCELLED: AttemptOutcome.CANCELLED,
}


class ChunkEnd(MsgStruct, frozen=True):
    """The end of a chunk; fields that are None take the job's values."""

    state: ChunkState
    task_id: str = ""
    worker: str = ""
    start_time: Micros | None = None
    end_time: Micros | None = None
    error: WorkError | None = None
    attempt: int | None = None
    output: bytes | None = None
    """An encoded Struct, as that of the job."""


class ImportedJob(MsgStruct, frozen=True):
    """A job of another system; times in microseconds since 1970."""

    new: NewJob
    state: JobState
    create_time: Micros
    start_time: Micros | None = None
    end_time: Micros | None = None
    error: WorkError | None = None
    result_uri: str = ""
    artifacts: Artifacts = NO_ARTIFACTS
    retry_count: int = 0
    cancel_reason: str = ""
    chunks: Mapping[int, ChunkEnd] = {}
    output: bytes | None = None

    @property
    def ran(self) -> bool:
        """Whether a chunk of it may have been attempted: in this run, or in one before a retry."""
        return self.start_time is not None or self.retry_count > 0

    @property
    def timed_out(self) -> bool:
        """Whether it failed because its run took too long: then its chunks may all be stopped, and none FAILED."""
        return self.new.spec.run_timeout is not None and self.error is not None and self.error.code == TIMED_OUT

    def attempts(self, end: ChunkEnd) -> int:
        """Return the number of attempts at a chunk: as given, else one where there must or may have been one."""
        if end.attempt is not None:
            return end.attempt
        must = end.state in (ChunkState.COMPLETED, ChunkState.FAILED) or end.start_time is not None
        return int(must or (self.start_time is not None and end.state is ChunkState.CANCELLED))


def default_end(imported: ImportedJob) -> ChunkEnd:
    """Return the ends of chunks without an end of their own: that of the job."""
    return ChunkEnd(_CHUNK_STATES[imported.state])


def with_finalizer(imported: ImportedJob) -> ImportedJob:
    """Return the job with the end of its finalizer: it never began, unless one is given or all others completed."""
    new = imported.new
    if new.spec.finalizer_work is None or len(new.sizes) in imported.chunks or others_completed(imported):
        return imported
    end = ChunkEnd(ChunkState.PENDING if imported.state is JobState.QUEUED else ChunkState.CANCELLED, attempt=0)
    return replace(imported, chunks={**imported.chunks, len(new.sizes): end})


def others_completed(imported: ImportedJob) -> bool:
    """Whether all chunks but the finalizer are COMPLETED."""
    ends = [end for index, end in imported.chunks.items() if index < len(imported.new.sizes)]
    if len(ends) < len(imported.new.sizes):
        ends.append(default_end(imported))
    return all(end.state is ChunkState.COMPLETED for end in ends)


def import_job(imported: ImportedJob, actor: str) -> Step:
    """Return the job and its chunks as they ended, in one entry of the ledger."""
    step = create(imported.new, actor, imported.create_time)
    usual = _ending(imported, default_end(imported))
    chunks = tuple(_ended(imported, chunk, usual) for chunk in step.chunks)
    change = Change(ChangeType.IMPORTED, actor, None, imported.state)
    return Step(_with_end(imported, step.job, chunks), chunks, change)


def _with_end(imported: ImportedJob, job: Job, chunks: Sequence[Chunk]) -> Job:
    done = sum(chunk.work_done for chunk in chunks)
    progress = replace(
        job.progress,
        work_done=done,
        items_completed=sum(chunk.items_done for chunk in chunks),
        percent=done * 100 / job.progress.work_total,
    )
    return replace(
        job,
        state=imported.state,
        counts=counts_of(chunks),
        progress=progress,
        start_time=imported.start_time,
        end_time=imported.end_time,
        first_failure=_first_failure(imported, chunks),
        declared_result=imported.result_uri,
        output_bytes=None if imported.output is None else len(imported.output),
        artifacts=imported.artifacts,
        artifact_bytes=stored_bytes(imported.artifacts),
        retry_count=imported.retry_count,
        retry_time=(imported.start_time or imported.create_time) if imported.retry_count else None,
        cancel_reason=imported.cancel_reason,
        held_until=job.held_until if imported.state is JobState.QUEUED else None,
    )


def _first_failure(imported: ImportedJob, chunks: Sequence[Chunk]) -> WorkError | None:
    """Return the job's error, of the chunk that it names, else of the first failed one."""
    if imported.error is None or imported.error.chunk_index is not None or imported.timed_out:
        return imported.error
    return replace(imported.error, chunk_index=next(c.index for c in chunks if c.state is ChunkState.FAILED))


def _ended(imported: ImportedJob, chunk: Chunk, usual: Mapping[str, object]) -> Chunk:
    end = imported.chunks.get(chunk.index)
    changes = usual if end is None else _ending(imported, end)
    if end is not None and imported.attempts(end) > chunk.max_attempts:
        changes = {**changes, "max_attempts": imported.attempts(end)}
    if changes.get("state") is ChunkState.COMPLETED:
        changes = {**changes, "progress": _whole(chunk.items)}
    if isinstance(error := changes.get("error"), WorkError):
        changes = {**changes, "error": replace(error, chunk_index=chunk.index)}
    return replace(chunk, **changes)


@lru_cache(maxsize=1_024)
def _whole(items: int) -> ChunkProgress:
    return ChunkProgress(done=WHOLE, items_completed=items)


def _ending(imported: ImportedJob, end: ChunkEnd) -> Mapping[str, object]:
    """Return what a chunk that ended so differs in from one that begins."""
    if end.state is ChunkState.PENDING:
        return {}
    attempts, end_time = imported.attempts(end), end.end_time or imported.end_time or imported.create_time
    return {
        "state": end.state,
        "task_id": end.task_id,
        "worker": end.worker,
        "attempt": attempts,
        "fence": attempts,
        "attempt_number": attempts,
        "outcome": _OUTCOMES[end.state] if attempts else None,
        "attempt_end_time": end_time if attempts else None,
        "start_time": (end.start_time or imported.start_time or imported.create_time) if attempts else None,
        "end_time": end_time,
        "error": end.error or imported.error if end.state is ChunkState.FAILED else None,
    }
