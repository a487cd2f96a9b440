"""Values of the domain as messages of the contract."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import chunk_pb2, event_pb2, job_pb2

from jobledger_service.domain.change import Change, ChangeType
from jobledger_service.domain.chunk import NO_PROGRESS, WHOLE, Artifact, Chunk, ChunkProgress, WorkError
from jobledger_service.domain.job import FailurePolicy, Job
from jobledger_service.domain.retry import RetryPolicy
from jobledger_service.domain.slots import scope_of
from jobledger_service.domain.states import ChunkState, JobState
from jobledger_service.ledger.read_ports import JobRead, JobStatus

MICROS: Final = 1_000_000

JOB_STATES: Final = {state: job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in JobState}
CHUNK_STATES: Final = {state: chunk_pb2.ChunkState.Value(f"CHUNK_STATE_{state}") for state in ChunkState}
_FAILURE_POLICIES: Final = {policy: job_pb2.FailurePolicy.Value(f"FAILURE_POLICY_{policy}") for policy in FailurePolicy}
_CHANGE_TYPES: Final = {change: event_pb2.ChangeType.Value(f"CHANGE_TYPE_{change}") for change in ChangeType}
CHANGE_TYPES_BY_NUMBER: Final[dict[int, ChangeType]] = {number: change for change, number in _CHANGE_TYPES.items()}
NO_STATE: Final = job_pb2.JobState.JOB_STATE_UNSPECIFIED
JOB_STATES_BY_NUMBER: Final[dict[int, JobState]] = {number: state for state, number in JOB_STATES.items()}
CHUNK_STATES_BY_NUMBER: Final[dict[int, ChunkState]] = {number: state for state, number in CHUNK_STATES.items()}


@lru_cache(maxsize=1_024)
def timestamp(micros: int) -> Timestamp:
    """Return a time in microseconds since 1970 as a Timestamp, which others may hold too: copy it, never change it."""
    seconds, rest = divmod(micros, MICROS)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def _time(micros: int | None) -> Timestamp | None:
    return None if micros is None else timestamp(micros)


def duration(micros: int) -> Duration:
    """Return microseconds as a Duration."""
    seconds, rest = divmod(micros, MICROS)
    return Duration(seconds=seconds, nanos=rest * 1_000)


def struct(raw: bytes | None) -> Struct | None:
    """Return an encoded Struct, None for none."""
    return None if raw is None else Struct.FromString(raw)


def encoded_struct(values: Mapping[str, object]) -> bytes:
    """Return names and JSON values as an encoded Struct."""
    made = Struct()
    made.update(cast("dict[str, Any]", dict(values)))
    return made.SerializeToString(deterministic=True)


def artifact(value: Artifact) -> chunk_pb2.Artifact:
    """Return an artifact."""
    return chunk_pb2.Artifact(
        uri=value.uri,
        content_type=value.content_type,
        size_bytes=value.size_bytes,
        metadata=struct(value.metadata),
        create_time=timestamp(value.create_time),
    )


def _artifacts(values: Mapping[str, Artifact]) -> dict[str, chunk_pb2.Artifact]:
    return {name: artifact(value) for name, value in values.items()}


def _error(error: WorkError | None) -> chunk_pb2.WorkError | None:
    if error is None:
        return None
    return chunk_pb2.WorkError(code=error.code, message=error.message, stage=error.stage, chunk_index=error.chunk_index)


def chunk(value: Chunk, input_: bytes | None = None) -> chunk_pb2.Chunk:
    """Return a chunk."""
    return chunk_pb2.Chunk(
        index=value.index,
        state=CHUNK_STATES[value.state],
        first_item=value.first_item,
        last_item=value.last_item,
        input=struct(input_),
        attempt=value.attempt,
        max_attempts=value.max_attempts,
        task_id=value.task_id,
        worker=value.worker,
        progress=_chunk_progress(value.progress),
        artifacts=_artifacts(value.artifacts) if value.artifacts else None,
        error=_error(value.error),
        create_time=timestamp(value.create_time),
        start_time=_time(value.start_time),
        end_time=_time(value.end_time),
        lease_expire_time=_time(value.lease_expire_time),
        not_before=_time(value.not_before),
    )


_NO_PROGRESS: Final = chunk_pb2.ChunkProgress()


def _chunk_progress(progress: ChunkProgress) -> chunk_pb2.ChunkProgress:
    if progress is NO_PROGRESS:
        return _NO_PROGRESS
    return chunk_pb2.ChunkProgress(
        percent=progress.done * 100 / WHOLE,
        stage=progress.stage,
        stage_percent=progress.stage_percent,
        message=progress.message,
        items_completed=progress.items_completed,
    )


def stages(job: Job) -> list[job_pb2.Stage]:
    """Return a job's plan."""
    return [job_pb2.Stage(name=stage.name, weight=stage.weight) for stage in job.spec.stages]


def _progress(job: Job) -> job_pb2.Progress:
    progress = job.progress
    return job_pb2.Progress(
        percent=progress.percent,
        stage=progress.stage,
        stage_percent=progress.stage_percent,
        message=progress.message,
        items_completed=progress.items_completed,
        items_total=progress.items_total,
        items_per_second=job.items_per_second,
        eta=_time(job.eta),
    )


def _summary(job: Job) -> job_pb2.ChunksSummary:
    counts = job.counts
    return job_pb2.ChunksSummary(
        total=counts.total,
        pending=counts.pending,
        processing=counts.processing,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
    )


@lru_cache(maxsize=1_024)
def _retry_policy(policy: RetryPolicy) -> chunk_pb2.RetryPolicy:
    return chunk_pb2.RetryPolicy(
        max_attempts=policy.max_attempts,
        initial_backoff=duration(policy.initial_backoff),
        multiplier=policy.multiplier,
        max_backoff=duration(policy.max_backoff),
        jitter=policy.jitter,
    )


def _timings(job: Job) -> list[job_pb2.StageTiming]:
    return [
        job_pb2.StageTiming(
            stage=timing.stage,
            duration=duration(timing.duration),
            start_time=timestamp(timing.start_time),
            end_time=_time(timing.end_time),
        )
        for timing in job.stage_timings
    ]


def job(value: Job) -> job_pb2.Job:
    """Return a job in view BASIC."""
    spec = value.spec
    return job_pb2.Job(
        job_id=spec.job_id,
        owner=spec.owner,
        kind=spec.kind,
        display_name=value.display_name,
        state=JOB_STATES[value.state],
        progress=_progress(value),
        priority=value.priority,
        labels=value.labels or None,
        artifacts=_artifacts(value.artifacts) if value.artifacts else None,
        result_uri=value.result_uri,
        error=_error(value.error),
        retry_policy=_retry_policy(spec.retry_policy),
        retry_count=value.retry_count,
        failure_policy=_FAILURE_POLICIES[spec.failure_policy],
        stages=stages(value) if spec.stages else None,
        stage_timings=_timings(value) if value.stage_timings else None,
        chunks_summary=_summary(value),
        create_time=timestamp(spec.create_time),
        start_time=_time(value.start_time),
        update_time=timestamp(value.update_time),
        end_time=_time(value.end_time),
        expire_time=_time(value.expire_time),
        revision=value.revision,
        etag=value.etag,
        cancel_reason=value.cancel_reason,
        slot_wait=job_pb2.SlotWait(scope=scope_of(value.parked_for)) if value.parked_for else None,
    )


def status(value: JobStatus) -> job_pb2.Job:
    """Return a job in view STATUS."""
    return job_pb2.Job(
        job_id=value.job_id,
        kind=value.kind,
        display_name=value.display_name,
        state=JOB_STATES[value.state],
        progress=job_pb2.Progress(
            percent=value.percent, stage=value.stage, stage_percent=value.stage_percent, eta=_time(value.eta)
        ),
        revision=value.revision,
        update_time=timestamp(value.update_time),
    )


def full_job(read: JobRead) -> job_pb2.Job:
    """Return a job with the inputs and the chunks that were read."""
    message = job(read.job)
    if read.inputs.job is not None:
        message.input.ParseFromString(read.inputs.job)
    inputs = read.inputs.chunks
    if read.place is not None:
        message.slot_wait.place = read.place
    message.chunks.extend(chunk(one, inputs.get(one.index)) for one in read.chunks)
    return message


def change(value: Change) -> event_pb2.Change:
    """Return one thing that happened."""
    return event_pb2.Change(
        type=_CHANGE_TYPES[value.type],
        actor=value.actor,
        from_state=JOB_STATES[value.from_state] if value.from_state else NO_STATE,
        to_state=JOB_STATES[value.to_state] if value.to_state else NO_STATE,
        chunk_index=value.chunk_index,
        reason=value.reason,
    )
