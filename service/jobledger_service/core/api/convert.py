"""Values of the model as messages of the contract.

The functions `fill_…` fill a message in place, within another: adding a separate one copies it through its encoding,
which costs as much as making it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import chunk_pb2, event_pb2, job_pb2

from jobledger_service.core.ledger.entry import JobSegments
from jobledger_service.core.ledger.read_ports import JobStatus
from jobledger_service.core.model.change import Change, ChangeType
from jobledger_service.core.model.chunk import NO_PROGRESS, WHOLE, Artifact, Chunk, ChunkProgress, WorkError
from jobledger_service.core.model.job import FailurePolicy, Job, JobSpec
from jobledger_service.core.model.limits import MAX_DURATION, MAX_TIME
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.slots import scope_of
from jobledger_service.core.model.states import ChunkState, JobState

MICROS: Final = 1_000_000
_FIRST_TIME: Final = -62_135_596_800 * MICROS
"""The start of the year 1."""

JOB_STATES: Final = {state: job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in JobState}
CHUNK_STATES: Final = {state: chunk_pb2.ChunkState.Value(f"CHUNK_STATE_{state}") for state in ChunkState}
_FAILURE_POLICIES: Final = {policy: job_pb2.FailurePolicy.Value(f"FAILURE_POLICY_{policy}") for policy in FailurePolicy}
_CHANGE_TYPES: Final = {change: event_pb2.ChangeType.Value(f"CHANGE_TYPE_{change}") for change in ChangeType}
CHANGE_TYPES_BY_NUMBER: Final[dict[int, ChangeType]] = {number: change for change, number in _CHANGE_TYPES.items()}
JOB_STATES_BY_NUMBER: Final[dict[int, JobState]] = {number: state for state, number in JOB_STATES.items()}
CHUNK_STATES_BY_NUMBER: Final[dict[int, ChunkState]] = {number: state for state, number in CHUNK_STATES.items()}


def timestamp(micros: int) -> Timestamp:
    """Return a time in microseconds since 1970 as a Timestamp."""
    message = Timestamp()
    fill_time(message, micros)
    return message


def _time(micros: int | None) -> Timestamp | None:
    return None if micros is None else timestamp(micros)


def fill_time(message: Timestamp, micros: int) -> None:
    """Fill an empty Timestamp with a time in microseconds since 1970, rounded to its range."""
    if not _FIRST_TIME <= micros <= MAX_TIME:
        micros = min(max(micros, _FIRST_TIME), MAX_TIME)
    seconds, rest = divmod(micros, MICROS)
    message.seconds = seconds
    message.nanos = rest * 1_000


def duration(micros: int) -> Duration:
    """Return microseconds as a Duration, rounded to its range; none is below 0 here."""
    micros = min(max(micros, 0), MAX_DURATION)
    seconds, rest = divmod(micros, MICROS)
    return Duration(seconds=seconds, nanos=rest * 1_000)


def struct(raw: bytes | None) -> Struct | None:
    """Return an encoded Struct, None for none."""
    return None if raw is None else Struct.FromString(raw)


def struct_content(raw: bytes | None) -> dict[str, Any]:
    """Return the names and JSON values of an encoded Struct."""
    return MessageToDict(Struct.FromString(raw or b""))


def encoded_struct(values: Mapping[str, object]) -> bytes:
    """Encode names and JSON values as a Struct."""
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


def _fill_artifacts(message: Any, values: Mapping[str, Artifact]) -> None:  # noqa: ANN401  a generated map
    for name, value in values.items():
        message[name].CopyFrom(artifact(value))


def _error(error: WorkError) -> chunk_pb2.WorkError:
    return chunk_pb2.WorkError(code=error.code, message=error.message, stage=error.stage, chunk_index=error.chunk_index)


def fill_chunk(message: chunk_pb2.Chunk, value: Chunk, input_: bytes | None = None) -> None:
    """Fill an empty message with a chunk."""
    fill_bare_chunk(message, value, input_)
    _fill_artifacts(message.artifacts, value.artifacts)


def fill_bare_chunk(message: chunk_pb2.Chunk, value: Chunk, input_: bytes | None = None) -> None:
    """Fill an empty message with a chunk without its artifacts."""
    message.index = value.index
    message.state = CHUNK_STATES[value.state]
    if value.first_item is not None:
        message.first_item = value.first_item
    if value.last_item is not None:
        message.last_item = value.last_item
    if input_ is not None:
        message.input.ParseFromString(input_)
    message.attempt = value.attempt
    message.max_attempts = value.max_attempts
    message.task_id = value.task_id
    message.worker = value.worker
    _fill_chunk_progress(message.progress, value.progress)
    if value.error is not None:
        message.error.CopyFrom(_error(value.error))
    fill_time(message.create_time, value.create_time)
    if value.start_time is not None:
        fill_time(message.start_time, value.start_time)
    if value.end_time is not None:
        fill_time(message.end_time, value.end_time)
    if value.lease_expire_time is not None:
        fill_time(message.lease_expire_time, value.lease_expire_time)
    if value.not_before is not None:
        fill_time(message.not_before, value.not_before)


def _fill_chunk_progress(message: chunk_pb2.ChunkProgress, progress: ChunkProgress) -> None:
    if progress == NO_PROGRESS:
        message.SetInParent()
        return
    message.percent = progress.done * 100 / WHOLE
    message.stage = progress.stage
    if progress.stage_percent is not None:
        message.stage_percent = progress.stage_percent
    message.message = progress.message
    message.items_completed = progress.items_completed


def stages(spec: JobSpec) -> list[job_pb2.Stage]:
    """Return a job's plan."""
    return [job_pb2.Stage(name=stage.name, weight=stage.weight) for stage in spec.stages]


def _fill_progress(message: job_pb2.Progress, job: Job) -> None:
    progress = job.progress
    message.percent = progress.percent
    message.stage = progress.stage
    if progress.stage_percent is not None:
        message.stage_percent = progress.stage_percent
    message.message = progress.message
    message.items_completed = progress.items_completed
    message.items_total = progress.items_total
    if (rate := job.items_per_second) is not None:
        message.items_per_second = rate
    if (eta := job.eta) is not None:
        fill_time(message.eta, eta)


def _fill_summary(message: job_pb2.ChunksSummary, job: Job) -> None:
    counts = job.counts
    message.total = counts.total
    message.pending = counts.pending
    message.processing = counts.processing
    message.completed = counts.completed
    message.failed = counts.failed
    message.cancelled = counts.cancelled


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


def segments(value: Job) -> JobSegments:
    """Return a job in view BASIC as encoded messages that join into it."""
    fixed, moving = job_pb2.Job(), job_pb2.Job()
    fill_fixed(fixed, value.spec)
    fill_moving(moving, value)
    artifacts = encoded_artifacts(job_pb2.Job(), value.artifacts)
    return JobSegments(fixed.SerializeToString(), artifacts, moving.SerializeToString())


def encoded_artifacts(message: job_pb2.Job | chunk_pb2.Chunk, values: Mapping[str, Artifact]) -> bytes:
    """Return artifacts as a part of the encoded message of their job or chunk, of which an empty one is given."""
    if not values:
        return b""
    _fill_artifacts(message.artifacts, values)
    return message.SerializeToString()


def fill_fixed(message: job_pb2.Job, spec: JobSpec) -> None:
    """Add what never changes: identity, policies, the plan, the time of creation."""
    message.job_id = spec.job_id
    message.owner = spec.owner
    message.kind = spec.kind
    message.retry_policy.CopyFrom(_retry_policy(spec.retry_policy))
    message.failure_policy = _FAILURE_POLICIES[spec.failure_policy]
    if spec.stages:
        message.stages.extend(stages(spec))
    fill_time(message.create_time, spec.create_time)


def fill_moving(message: job_pb2.Job, value: Job) -> None:
    """Add all else, which most changes change: state, progress, summary, times, revision."""
    message.display_name = value.display_name
    message.state = JOB_STATES[value.state]
    _fill_progress(message.progress, value)
    message.priority = value.priority
    for name, text in value.labels.items():
        message.labels[name] = text
    message.result_uri = value.result_uri
    if value.error is not None:
        message.error.CopyFrom(_error(value.error))
    message.retry_count = value.retry_count
    if value.stage_timings:
        message.stage_timings.extend(_timings(value))
    _fill_summary(message.chunks_summary, value)
    if value.start_time is not None:
        fill_time(message.start_time, value.start_time)
    fill_time(message.update_time, value.update_time)
    if value.end_time is not None:
        fill_time(message.end_time, value.end_time)
    if value.expire_time is not None:
        fill_time(message.expire_time, value.expire_time)
    message.revision = value.revision
    message.etag = value.etag
    message.cancel_reason = value.cancel_reason
    if value.parked_for:
        message.slot_wait.scope = scope_of(value.parked_for)


def status(value: JobStatus) -> job_pb2.Job:
    """Return a job in view STATUS."""
    message = job_pb2.Job()
    fill_status(message, value)
    return message


def fill_status(message: job_pb2.Job, value: JobStatus) -> None:
    """Fill an empty message with a job in view STATUS."""
    message.job_id = value.job_id
    message.kind = value.kind
    message.display_name = value.display_name
    message.state = JOB_STATES[value.state]
    message.progress.percent = value.percent
    message.progress.stage = value.stage
    if value.stage_percent is not None:
        message.progress.stage_percent = value.stage_percent
    if value.eta is not None:
        fill_time(message.progress.eta, value.eta)
    message.revision = value.revision
    fill_time(message.update_time, value.update_time)


def fill_change(message: event_pb2.Change, value: Change) -> None:
    """Fill an empty message with one change of a job."""
    message.type = _CHANGE_TYPES[value.type]
    message.actor = value.actor
    if value.from_state is not None:
        message.from_state = JOB_STATES[value.from_state]
    if value.to_state is not None:
        message.to_state = JOB_STATES[value.to_state]
    if value.chunk_index is not None:
        message.chunk_index = value.chunk_index
    message.reason = value.reason
