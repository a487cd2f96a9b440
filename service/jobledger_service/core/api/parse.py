"""Messages of the contract as values of the model."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import chunk_pb2, job_pb2
from msgspec import Struct as MsgStruct
from msgspec.structs import fields as fields_of
from msgspec.structs import replace

from jobledger_service.core.model.chunk import Artifact, WorkError
from jobledger_service.core.model.fields import Field, Kept
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.job import Stage, StageTiming
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import JobState

from .convert import MICROS
from .message_functions import value_maker

V = TypeVar("V", bound=MsgStruct)


def _micros(time: Timestamp | Duration) -> int:
    return time.seconds * MICROS + time.nanos // 1_000


_SIMPLE: Final = {"Timestamp_of": _micros, "Duration_of": _micros, "Struct_of": Struct.SerializeToString}


def _alike(type_: type[V], message: Any, **paths: str) -> Callable[[Any], V]:  # noqa: ANN401  any of the contract
    """Return the function from a message to a value whose fields have the same names, except the given ones."""
    fields = [Field(field.name, Kept.COMPUTED) for field in fields_of(type_)]
    return value_maker(type_, fields, message.DESCRIPTOR, _SIMPLE, paths)


FROM_MESSAGES: Final = {
    **_SIMPLE,
    "Artifact_of": _alike(Artifact, chunk_pb2.Artifact),
    "RetryPolicy_of": _alike(RetryPolicy, chunk_pb2.RetryPolicy),
    "Stage_of": _alike(Stage, job_pb2.Stage),
    "StageTiming_of": _alike(StageTiming, job_pb2.StageTiming),
    "WorkError_of": _alike(WorkError, chunk_pb2.WorkError),
}
"""The functions from messages to values, by name."""

filter_fields: Final[Callable[[job_pb2.Job], FilterFields]] = _alike(
    FilterFields, job_pb2.Job, error="message.error.message", error_code="message.error.code"
)
"""The function from a job to its filter fields."""


def changed_back(fields: FilterFields, before: Any) -> FilterFields:  # noqa: ANN401  a mapping from JSON
    """Return the filter fields of a job before a change, which has what was different."""
    if "state" in before:
        before = {**before, "state": JobState(before["state"])}
    return replace(fields, **before) if before else fields
