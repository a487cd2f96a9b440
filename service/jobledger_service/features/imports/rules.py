"""Which histories an imported job may have: those that it could have had here, but for the times between its chunks."""

from collections import Counter
from collections.abc import Callable, Iterator

from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.model.job import FailurePolicy
from jobledger_service.core.model.limits import MAX_JOB_ARTIFACT_BYTES
from jobledger_service.core.model.sizes import bytes_of_artifacts
from jobledger_service.core.model.states import ENDED, ChunkState, JobState

from .imported_job import ChunkEnd, PastJob, usual_end

Broken = Iterator[tuple[str, str]]
"""Fields, and the rules that they break."""

_ALLOWED = {
    JobState.QUEUED: {ChunkState.PENDING, ChunkState.COMPLETED},
    JobState.COMPLETED: {ChunkState.COMPLETED},
    JobState.FAILED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
    JobState.CANCELLED: {ChunkState.COMPLETED, ChunkState.FAILED, ChunkState.CANCELLED},
}


def check(past: PastJob, now: int) -> None:
    """Raise InvalidField for a history that cannot have been."""
    broken = [*_broken_times(past, now), *_broken_values(past)]
    by_chunk = [*_broken_chunks(past, now)]
    # What the chunks are together is looked at when each of them may be as it is.
    if broken := [*broken, *(by_chunk or _broken_whole(past))]:
        raise InvalidField(*broken)


def _broken_times(past: PastJob, now: int) -> Broken:
    state, start, end = past.state, past.start_time, past.end_time
    if past.create_time > now:
        yield "create_time", "is in the future"
    if start is not None and start < past.create_time:
        yield "start_time", "is before create_time"
    if start is not None and state is JobState.QUEUED:
        yield "start_time", "is not for a job that is QUEUED"
    if start is None and state in (JobState.COMPLETED, JobState.FAILED):
        yield "start_time", f"is required for a job that is {state}; where it is not known, give create_time"
    if (end is not None) != (state in ENDED):
        yield "end_time", f"is {'required' if end is None else 'not'} for a job that is {state}"
    elif end is not None and not (start or past.create_time) <= end <= now:
        yield "end_time", "is before the start, or in the future"


def _broken_values(past: PastJob) -> Broken:
    for name, given, state in (
        ("error", past.error is not None, JobState.FAILED),
        ("result_uri", bool(past.result_uri), JobState.COMPLETED),
        ("cancel_reason", bool(past.cancel_reason), JobState.CANCELLED),
    ):
        if given and past.state is not state:
            yield name, f"is only for a job that is {state}, not {past.state}"
    if past.state is JobState.FAILED and past.error is None:
        yield "error", "is required for a job that is FAILED"
    if past.artifacts and not past.ran:
        yield "artifacts", "are only for a job that ran: give start_time or retry_count"
    if (size := bytes_of_artifacts(past.artifacts)) > MAX_JOB_ARTIFACT_BYTES:
        yield "artifacts", f"are about {size:,} bytes, more than {MAX_JOB_ARTIFACT_BYTES:,}"
    if past.error is not None:
        yield from _broken_error(past, past.error, "error")
        failed = past.error.chunk_index
        if failed is not None and _state_of(past, failed) is not ChunkState.FAILED:
            yield "error.chunk_index", f"{failed} is not one of the job's FAILED chunks"


def _broken_error(past: PastJob, error: WorkError, field: str) -> Broken:
    plan = [stage.name for stage in past.new.spec.stages]
    if error.stage and plan and error.stage not in plan:
        yield f"{field}.stage", f"{error.stage!r} is not a stage of the job's plan: {', '.join(plan)}"


def _state_of(past: PastJob, index: int) -> ChunkState | None:
    if not 0 <= index < len(past.new.sizes):
        return None
    return past.chunks.get(index, usual_end(past)).state


def _broken_chunks(past: PastJob, now: int) -> Broken:
    for index, end in past.chunks.items():
        for rule in _broken_chunk(past, index, end, now):
            yield "chunks", f"chunk {index} {rule}"
        if end.error is not None:
            yield from _broken_error(past, end.error, "chunks: error")


def _broken_chunk(past: PastJob, index: int, end: ChunkEnd, now: int) -> Iterator[str]:
    total, allowed = len(past.new.sizes), _ALLOWED[past.state]
    if not 0 <= index < total:
        yield f"is not one of the job's {total}"
        return
    if end.state not in allowed:
        yield f"is {end.state}: of a {past.state} job it may be {', '.join(sorted(allowed))}"
    ended = past.end_time or now
    if not past.create_time <= (end.start_time or past.create_time) <= (end.end_time or ended) <= ended:
        yield "begins before create_time, ends before it begins, or ends after its job or in the future"
    if end.state is ChunkState.FAILED and end.error is None and past.error is None:
        yield "needs an error: it is FAILED, and its job has none"
    if end.error is not None and end.error.chunk_index not in (None, index):
        yield f"has an error of chunk {end.error.chunk_index}"
    yield from _broken_attempts(past, end)


def _broken_attempts(past: PastJob, end: ChunkEnd) -> Iterator[str]:
    attempts, runs = past.attempts(end), _runs_of(past, end.state)
    most = runs * past.new.spec.retry_policy.max_attempts
    if not attempts and end.state in (ChunkState.COMPLETED, ChunkState.FAILED):
        yield f"is {end.state} without an attempt: give start_time or attempt"
    if not attempts and (end.worker or end.task_id or end.start_time is not None):
        yield "has a worker, a task_id or a start_time, but no attempt"
    if attempts > most:
        yield (
            f"has {attempts} attempts, more than {most}: {runs} times retry_policy.max_attempts; "
            "give the retry_count, or a greater max_attempts"
        )


def _runs_of(past: PastJob, state: ChunkState) -> int:
    """Return in how many runs a chunk can have been attempted that is now in this state.

    One for each retry, and the last one if it began. A chunk that must be left over from an earlier run was not in it.
    """
    fails_fast = past.new.spec.failure_policy is FailurePolicy.FAIL_FAST
    left_over = (
        state is ChunkState.CANCELLED and past.state is JobState.FAILED and not fails_fast,
        state is ChunkState.FAILED and past.state is JobState.CANCELLED and fails_fast,
    )
    return past.retry_count + (past.start_time is not None and not any(left_over))


def _broken_whole(past: PastJob) -> Broken:
    states = Counter(end.state for end in past.chunks.values())
    states[usual_end(past).state] += len(past.new.sizes) - len(past.chunks)
    for field, is_broken, rule in _WHOLE:
        if is_broken(past, states):
            yield field, rule


def _too_many_failed_fast(past: PastJob, states: Counter[ChunkState]) -> bool:
    """Whether FAILED chunks cannot each have failed in a run of their own, after the attempts that they made."""
    policy = past.new.spec.retry_policy
    if past.new.spec.failure_policy is FailurePolicy.RUN_ALL:
        return False
    failed = [end for end in past.chunks.values() if end.state is ChunkState.FAILED]
    runs = _runs_of(past, ChunkState.FAILED)
    if states[ChunkState.FAILED] > runs:
        return True
    usual = states[ChunkState.FAILED] - len(failed)
    needed = [-(-past.attempts(end) // policy.max_attempts) for end in failed] + [1] * usual
    return any(need > run for need, run in zip(sorted(needed, reverse=True), range(runs, 0, -1), strict=False))


_WHOLE: tuple[tuple[str, Callable[[PastJob, Counter[ChunkState]], bool], str], ...] = (
    (
        "chunks",
        lambda past, states: past.state is JobState.QUEUED and not states[ChunkState.PENDING],
        "of a QUEUED job at least one is still to be done; this job is COMPLETED",
    ),
    (
        "retry_count",
        lambda past, states: (
            past.state is JobState.QUEUED and states[ChunkState.COMPLETED] > 0 and not past.retry_count
        ),
        "is 0, but a QUEUED job with COMPLETED chunks was retried",
    ),
    (
        "chunks",
        lambda past, states: past.state is JobState.FAILED and not states[ChunkState.FAILED],
        "of a FAILED job at least one is FAILED",
    ),
    (
        "chunks",
        lambda past, states: (
            past.state is JobState.FAILED
            and states[ChunkState.CANCELLED] > 0
            and past.new.spec.failure_policy is FailurePolicy.RUN_ALL
            and not past.retry_count
        ),
        "of a FAILED job with RUN_ALL are CANCELLED only if it was retried",
    ),
    (
        "chunks",
        _too_many_failed_fast,
        "are FAILED, more than one in each run; with FAIL_FAST the others of a run are CANCELLED",
    ),
    (
        "chunks",
        lambda past, states: past.state is JobState.CANCELLED and states[ChunkState.FAILED] == states.total(),
        "of a CANCELLED job are not all FAILED; this job is FAILED",
    ),
    (
        "chunks",
        lambda past, states: (
            past.state is JobState.CANCELLED and past.start_time is None and not states[ChunkState.CANCELLED]
        ),
        "of a job that was CANCELLED before its run began are at least one CANCELLED",
    ),
)
"""What the chunks may not be together: the field, when it is broken, and the rule."""
