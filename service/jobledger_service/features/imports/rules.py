"""The valid histories of an imported job: those possible here, except for the times between its chunks."""

from collections import Counter
from collections.abc import Iterator

from jobledger_service.core.model.bounds.limits import MAX_JOB_ARTIFACT_BYTES
from jobledger_service.core.model.bounds.sizes import bytes_of_artifacts
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.job import FailurePolicy
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.states import ENDED, ChunkState, JobState

from .imported_job import ChunkEnd, ImportedJob, default_end, others_completed

Violations = Iterator[tuple[str, str]]
"""Fields, and their violated rules."""

_ALLOWED = {
    JobState.QUEUED: {ChunkState.PENDING, ChunkState.COMPLETED},
    JobState.COMPLETED: {ChunkState.COMPLETED},
    JobState.FAILED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
    JobState.CANCELLED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
}


def check(imported: ImportedJob, now: Micros) -> None:
    """Raise InvalidField for an impossible history."""
    broken = [*_broken_times(imported, now), *_broken_values(imported)]
    by_chunk = [*_broken_chunks(imported, now)]
    # the chunks are checked together when each of them is valid
    if broken := [*broken, *(by_chunk or _broken_whole(imported))]:
        raise InvalidField(*broken)


def _broken_times(imported: ImportedJob, now: Micros) -> Violations:
    state, start, end = imported.state, imported.start_time, imported.end_time
    if imported.create_time > now:
        yield "create_time", f"value {time_text(imported.create_time)} must not be in the future"
    if start is not None and start < imported.create_time:
        created = time_text(imported.create_time)
        yield "start_time", f"value {time_text(start)} must not be before create_time, {created}"
    if start is not None and state is JobState.QUEUED:
        yield "start_time", "must be absent for a QUEUED job"
    if start is None and state in (JobState.COMPLETED, JobState.FAILED):
        yield "start_time", f"is required for a {state} job; if it is unknown, use create_time"
    schedule = imported.new.schedule_time
    if imported.ran and schedule is not None and schedule > now:
        yield "job.schedule_time", f"value {time_text(schedule)} must not be in the future for a job that ran"
    if (end is not None) != (state in ENDED):
        yield "end_time", f"must be {'present' if end is None else 'absent'} for a {state} job"
    elif end is not None and not (start or imported.create_time) <= end <= now:
        yield "end_time", f"value {time_text(end)} must not be before the start, nor in the future"


def _broken_values(imported: ImportedJob) -> Violations:
    for name, is_given, state in (
        ("error", imported.error is not None, JobState.FAILED),
        ("result_uri", bool(imported.result_uri), JobState.COMPLETED),
        ("output", imported.output is not None, JobState.COMPLETED),
        ("cancel_reason", bool(imported.cancel_reason), JobState.CANCELLED),
    ):
        if is_given and imported.state is not state:
            yield name, f"must be absent for a {imported.state} job; only a {state} one has it"
    if imported.state is JobState.FAILED and imported.error is None:
        yield "error", "is required for a FAILED job"
    if imported.artifacts and not imported.ran:
        yield "artifacts", "must be absent for a job that never ran; for one that ran, set start_time or retry_count"
    if (size := bytes_of_artifacts(imported.artifacts)) > MAX_JOB_ARTIFACT_BYTES:
        yield "artifacts", f"must have at most {MAX_JOB_ARTIFACT_BYTES:,} bytes; got about {size:,}"
    if imported.error is not None:
        yield from _broken_error(imported, imported.error, "error")
        failed = imported.error.chunk_index
        if failed is not None and _state_of(imported, failed) is not ChunkState.FAILED:
            yield "error.chunk_index", f"value {failed} must be one of the job's FAILED chunks"


def _broken_error(imported: ImportedJob, error: WorkError, field: str) -> Violations:
    plan = [stage.name for stage in imported.new.spec.stages]
    if error.stage and plan and error.stage not in plan:
        yield f"{field}.stage", f"value {error.stage!r} must be a stage of the job's plan: {', '.join(plan)}"


def _state_of(imported: ImportedJob, index: int) -> ChunkState | None:
    if not 0 <= index < imported.new.chunk_count:
        return None
    return imported.chunks.get(index, default_end(imported)).state


def _broken_chunks(imported: ImportedJob, now: Micros) -> Violations:
    for index, end in imported.chunks.items():
        for rule in _broken_chunk(imported, index, end, now):
            yield "chunks", f"chunk {index} {rule}"
        if end.error is not None:
            yield from _broken_error(imported, end.error, "chunks: error")


def _broken_chunk(imported: ImportedJob, index: int, end: ChunkEnd, now: Micros) -> Iterator[str]:
    total, allowed = imported.new.chunk_count, _ALLOWED[imported.state]
    if not 0 <= index < total:
        yield f"must be one of the job's {total}"
        return
    if end.state not in allowed:
        yield f"must be {' or '.join(sorted(allowed))}, as the job is {imported.state}; got {end.state}"
    ended = imported.end_time or now
    if not imported.create_time <= (end.start_time or imported.create_time) <= (end.end_time or ended) <= ended:
        yield "must begin no earlier than create_time, and end after it begins, and no later than its job or now"
    if end.state is ChunkState.FAILED and end.error is None and imported.error is None:
        yield "must have an error: it is FAILED and its job has no error"
    if end.error is not None and end.error.chunk_index not in (None, index):
        yield f"must not have an error of chunk {end.error.chunk_index}"
    yield from _broken_attempts(imported, end)


def _broken_attempts(imported: ImportedJob, end: ChunkEnd) -> Iterator[str]:
    attempts, runs = imported.attempts(end), _runs_of(imported, end.state)
    max_attempts = runs * imported.new.spec.retry_policy.max_attempts
    if not attempts and end.state in (ChunkState.COMPLETED, ChunkState.FAILED):
        yield f"must have an attempt, as it is {end.state}: set start_time or attempt"
    if not attempts and (end.worker or end.task_id or end.start_time is not None):
        yield "must have an attempt, as it has a worker, a task_id or a start_time"
    if attempts > max_attempts:
        yield (
            f"must have at most {max_attempts} attempts, {runs} times retry_policy.max_attempts; got {attempts}: "
            "set retry_count, or a greater max_attempts"
        )


def _runs_of(imported: ImportedJob, state: ChunkState) -> int:
    """Return in how many runs a chunk can have been attempted that is now in this state.

    One for each retry, and the last one if it began. A chunk that must be left over from an earlier run was not in it.
    """
    fails_fast = imported.new.spec.failure_policy is FailurePolicy.FAIL_FAST
    left_over = (
        state is ChunkState.CANCELLED and imported.state is JobState.FAILED and not (fails_fast or imported.timed_out),
        state is ChunkState.FAILED and imported.state is JobState.CANCELLED and fails_fast,
    )
    return imported.retry_count + (imported.start_time is not None and not any(left_over))


def _broken_whole(imported: ImportedJob) -> Violations:
    """Yield the violations of rules about all chunks together."""
    states = Counter(end.state for end in imported.chunks.values())
    states[default_end(imported).state] += imported.new.chunk_count - len(imported.chunks)
    failed, cancelled = states[ChunkState.FAILED], states[ChunkState.CANCELLED]
    finalizer = None
    if imported.new.spec.finalizer_work is not None:
        finalizer = imported.chunks.get(len(imported.new.sizes), default_end(imported))
    stopped = cancelled - (finalizer is not None and finalizer.state is ChunkState.CANCELLED)
    state, runs_all = imported.state, imported.new.spec.failure_policy is FailurePolicy.RUN_ALL
    is_queued, is_failed, is_cancelled = (
        state is known for known in (JobState.QUEUED, JobState.FAILED, JobState.CANCELLED)
    )
    for is_broken, field, rule in (
        (
            is_queued and not states[ChunkState.PENDING],
            "chunks",
            "must include one still to be done in a QUEUED job; this job is COMPLETED",
        ),
        (
            is_queued and states[ChunkState.COMPLETED] and not imported.retry_count,
            "retry_count",
            "must be above 0 for a QUEUED job with COMPLETED chunks, which was retried",
        ),
        (
            finalizer and imported.attempts(finalizer) and not others_completed(imported),
            "chunks",
            "must all be COMPLETED but for the finalizer when that was attempted",
        ),
        (
            is_failed and not failed and not (imported.timed_out and cancelled),
            "chunks",
            "must include a FAILED one in a FAILED job",
        ),
        (
            is_failed and stopped and runs_all and not imported.retry_count and not imported.timed_out,
            "chunks",
            "must not be CANCELLED in a FAILED job with RUN_ALL that was never retried",
        ),
        (
            not runs_all and _too_many_failed_fast(imported, failed),
            "chunks",
            "must be FAILED at most once in each run; with FAIL_FAST the others of a run are CANCELLED",
        ),
        (
            is_cancelled and failed == states.total(),
            "chunks",
            "must not all be FAILED in a CANCELLED job; this job is FAILED",
        ),
        (
            is_cancelled and imported.start_time is None and not cancelled,
            "chunks",
            "must include a CANCELLED one in a job that was CANCELLED before its run began",
        ),
        (
            is_cancelled and states[ChunkState.COMPLETED] == states.total(),
            "chunks",
            "must not all be COMPLETED in a CANCELLED job; this job is COMPLETED",
        ),
    ):
        if is_broken:
            yield field, rule


def _too_many_failed_fast(imported: ImportedJob, count: int) -> bool:
    """Whether FAILED chunks cannot each have failed in a run of their own, after the attempts that they made."""
    failed = [end for end in imported.chunks.values() if end.state is ChunkState.FAILED]
    runs, max_attempts = _runs_of(imported, ChunkState.FAILED), imported.new.spec.retry_policy.max_attempts
    if count > runs:
        return True
    needed = [-(-imported.attempts(end) // max_attempts) for end in failed] + [1] * (count - len(failed))
    return any(need > run for need, run in zip(sorted(needed, reverse=True), range(runs, 0, -1), strict=False))
