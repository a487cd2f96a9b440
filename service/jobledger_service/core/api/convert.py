"""Values of the model as messages of the contract."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import chunk_pb2, event_pb2, job_pb2, limit_scope_pb2

from jobledger_service.core.database.rows.entry import JobSegments
from jobledger_service.core.model.attempts import Attempt
from jobledger_service.core.model.bounds.limits import MAX_DURATION, MAX_TIME
from jobledger_service.core.model.bounds.slots import LimitScope
from jobledger_service.core.model.chunk import Artifact, Chunk, WorkError
from jobledger_service.core.model.fields import CHUNK_FIELDS, JOB_FIELDS, Field, Kept
from jobledger_service.core.model.history.change import Change, ChangeType
from jobledger_service.core.model.holds import Hold, HoldReason
from jobledger_service.core.model.job import Job, JobSpec, Stage, StageTiming
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import ChunkState, JobState

from .message_functions import message_filler, message_maker

Value = TypeVar("Value")
Made = TypeVar("Made", bound=Message)

MICROS: Final = 1_000_000
_FIRST_TIME: Final = -62_135_596_800 * MICROS
"""The start of the year 1."""

JOB_STATES: Final = {state: job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in JobState}
CHUNK_STATES: Final = {state: chunk_pb2.ChunkState.Value(f"CHUNK_STATE_{state}") for state in ChunkState}
HOLD_REASONS: Final = {reason: chunk_pb2.HoldReason.Value(f"HOLD_REASON_{reason.name}") for reason in HoldReason}
_CHANGE_TYPES: Final = {change: event_pb2.ChangeType.Value(f"CHANGE_TYPE_{change}") for change in ChangeType}
CHANGE_TYPES_BY_NUMBER: Final[dict[int, ChangeType]] = {number: change for change, number in _CHANGE_TYPES.items()}
JOB_STATES_BY_NUMBER: Final[dict[int, JobState]] = {number: state for state, number in JOB_STATES.items()}
CHUNK_STATES_BY_NUMBER: Final[dict[int, ChunkState]] = {number: state for state, number in CHUNK_STATES.items()}

_FIXED: Final = [field for field in JOB_FIELDS if field.path.startswith("spec.")]
_MOVING: Final = [field for field in JOB_FIELDS if field not in _FIXED and field.kept is not Kept.VERSION]
_OF_CHUNK: Final = [field for field in CHUNK_FIELDS if field.kept is not Kept.VERSION]

_ATTEMPT: Final = [Field(name, Kept.COMPUTED) for name in Attempt.__struct_fields__]

FEW_STAGES: Final = 8


def timestamp(micros: int) -> Timestamp:
    """Return a time in microseconds since 1970 as a Timestamp."""
    return Timestamp.FromString(encoded_time(micros))


def fill_time(message: Timestamp, micros: int) -> None:
    """Fill an empty Timestamp with a time in microseconds since 1970, rounded to its range."""
    message.MergeFromString(encoded_time(micros))


@lru_cache(maxsize=4_096)  # most times of a batch are equal: when it began, and one duration later
def encoded_time(micros: int) -> bytes:
    """Return a time in microseconds since 1970 as an encoded Timestamp, rounded to its range."""
    seconds, rest = divmod(min(max(micros, _FIRST_TIME), MAX_TIME), MICROS)
    return Timestamp(seconds=seconds, nanos=rest * 1_000).SerializeToString()


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
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415  a start does without

    return MessageToDict(Struct.FromString(raw or b""))


def encoded_struct(values: Mapping[str, object]) -> bytes:
    """Encode names and JSON values as a Struct."""
    made = Struct()
    made.update(cast("dict[str, Any]", dict(values)))
    return made.SerializeToString(deterministic=True)


@lru_cache(maxsize=1_024)
def _retry_policy(policy: RetryPolicy) -> chunk_pb2.RetryPolicy:
    return _make_retry_policy(policy)


def limit_scope(scope: LimitScope) -> limit_scope_pb2.LimitScope:
    """Return what a limit is over."""
    if scope.kind:
        return limit_scope_pb2.LimitScope(kind=scope.kind)
    if scope.value is None:
        return limit_scope_pb2.LimitScope(each_value_of_label=scope.label)
    return limit_scope_pb2.LimitScope(label=limit_scope_pb2.LimitScope.Label(name=scope.label, value=scope.value))


def _hold(value: Hold) -> job_pb2.Hold:
    end_time = None if value.end_time is None else timestamp(value.end_time)
    scope = None if value.scope is None else limit_scope(value.scope)
    return job_pb2.Hold(reason=HOLD_REASONS[value.reason], scope=scope, end_time=end_time)


_SIMPLE: Final = {"encoded_time": encoded_time, "Timestamp": timestamp, "Duration": duration, "Struct": struct}


def maker(type_: type[Value], message: type[Made], **makers: Callable[[Any], Any]) -> Callable[[Value], Made]:
    """Return the function from a value to a message with its fields; `makers` make messages within it, by their name.

    Times are in microseconds since 1970, durations in microseconds, Structs encoded.
    """
    return message_maker(type_, message, {**_SIMPLE, **makers})


artifact = maker(Artifact, chunk_pb2.Artifact)
stage = maker(Stage, job_pb2.Stage)
_make_retry_policy: Final = maker(RetryPolicy, chunk_pb2.RetryPolicy)
_MESSAGES: Final = {
    **_SIMPLE,
    "Artifact": artifact,
    "Hold": _hold,
    "HoldReason": HOLD_REASONS.__getitem__,
    "RetryPolicy": _retry_policy,
    "Stage": stage,
    "StageTiming": maker(StageTiming, job_pb2.StageTiming),
    "WorkError": maker(WorkError, chunk_pb2.WorkError),
}


fill_fixed: Final[Callable[[job_pb2.Job, JobSpec], None]] = message_filler(
    Job, _FIXED, job_pb2.Job.DESCRIPTOR, "message, spec", _MESSAGES
)
"""Adds what only UpdateJob changes, if anything: identity, policies, time-outs, the plan, the time of creation."""

fill_moving: Final[Callable[[job_pb2.Job, Job], None]] = message_filler(
    Job, _MOVING, job_pb2.Job.DESCRIPTOR, "message, value", _MESSAGES
)
"""Adds all else, which most changes change: state, progress, summary, times, revision."""

fill_bare_chunk: Final[Callable[[chunk_pb2.Chunk, Chunk], None]] = message_filler(
    Chunk, _OF_CHUNK, chunk_pb2.Chunk.DESCRIPTOR, "message, value", _MESSAGES
)
"""Fills an empty message with a chunk without its artifacts."""


fill_attempt: Final[Callable[[chunk_pb2.Attempt, Attempt], None]] = message_filler(
    Attempt, _ATTEMPT, chunk_pb2.Attempt.DESCRIPTOR, "message, value", _MESSAGES
)


def fill_chunk(
    message: chunk_pb2.Chunk, value: Chunk, input_: bytes | None = None, output: bytes | None = None
) -> None:
    """Fill an empty message with a chunk."""
    fill_bare_chunk(message, value)
    if input_ is not None:
        message.input.ParseFromString(input_)
    if output is not None:
        message.output.MergeFromString(output)
        message.output.SetInParent()
    _fill_artifacts(message.artifacts, value.artifacts)


def stages(spec: JobSpec) -> list[job_pb2.Stage]:
    """Return a job's plan."""
    return [stage(planned) for planned in spec.stages]


def _fill_artifacts(message: Any, values: Mapping[str, Artifact]) -> None:  # noqa: ANN401  a generated map
    for name, value in values.items():
        message[name].CopyFrom(artifact(value))


def segments(value: Job) -> JobSegments:
    """Return a job in view BASIC as encoded messages that join into it."""
    moving = job_pb2.Job()
    fill_moving(moving, value)
    artifacts = encoded_artifacts(job_pb2.Job(), value.artifacts)
    fixed = _fixed if len(value.spec.stages) <= FEW_STAGES else _fixed_of_many_stages
    return JobSegments(fixed(value.spec), artifacts, moving.SerializeToString())


def _encode_fixed(spec: JobSpec) -> bytes:
    message = job_pb2.Job()
    fill_fixed(message, spec)
    return message.SerializeToString()


# apart, as a plan of 100 stages takes up to 170 KiB and few jobs have one
_fixed: Final = lru_cache(maxsize=2_048)(_encode_fixed)
_fixed_of_many_stages: Final = lru_cache(maxsize=64)(_encode_fixed)


def encoded_artifacts(message: job_pb2.Job | chunk_pb2.Chunk, values: Mapping[str, Artifact]) -> bytes:
    """Return artifacts as a part of the encoded message of their job or chunk, of which an empty one is given."""
    if not values:
        return b""
    _fill_artifacts(message.artifacts, values)
    return message.SerializeToString()


@lru_cache(maxsize=2_048)  # all reports of progress in an attempt are alike
def encoded_change(value: Change) -> bytes:
    """Return one change of a job as an encoded message."""
    message = event_pb2.Change(
        type=_CHANGE_TYPES[value.type],
        actor=value.actor,
        chunk_index=value.chunk_index,
        reason=value.reason,
        attempt=value.attempt,
        task_id=value.task_id,
        chunk_count=value.chunk_count,
    )
    if value.from_state is not None:
        message.from_state = JOB_STATES[value.from_state]
    if value.to_state is not None:
        message.to_state = JOB_STATES[value.to_state]
    for first, last in value.chunk_runs:
        message.chunk_ranges.add(first_index=first, last_index=last, state=chunk_pb2.CHUNK_STATE_PENDING)
    return message.SerializeToString()
