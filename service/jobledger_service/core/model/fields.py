"""The fields of jobs and of chunks, one line each: where each is kept.

The store makes its columns, its bodies and its functions between rows and values from these tables when it is imported.
"""

from enum import Enum, auto
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from msgspec import Struct as MsgStruct
from msgspec.structs import FieldInfo, fields

from .micros import Micros


class Kept(Enum):
    """Where the store keeps a field."""

    KEY = auto()
    """In a column of the primary key."""
    FIXED = auto()
    """In a column of its own, and it never changes."""
    COLUMN = auto()
    """In a column of its own: SQL filters, orders, counts, constrains or sets it."""
    STEADY = auto()
    """In such a column that progress leaves as it is: a row is written without these columns while all of them stay."""
    SETTLED = auto()
    """In the body of what only UpdateJob changes, if anything does. New ones come last, and have a default."""
    CURRENT = auto()
    """In the body of what changes. New ones come last, and have a default."""
    VERSION = auto()
    """In a table of versions, by the revision that brought it."""
    COMPUTED = auto()
    """Nowhere: it is a property."""


class Field(MsgStruct, frozen=True):
    """A field, by its attribute, such as "progress.percent". Its column or place in a body has the attribute's name.

    Messages of the contract show the fields that they have by the same name.
    """

    path: str
    kept: Kept
    named: str = ""
    """Another name of the column."""
    message: str = ""
    """Another place in the message."""
    export: str = ""
    """The column of exports; each field of an error has one of its own."""
    default: str | None = None
    """What the rows have that were there before a migration added the column."""

    @property
    def name(self) -> str:
        """The name of the column, or of the place in a body."""
        return self.named or self.path.rpartition(".")[2]


JOB_FIELDS: Final = (
    Field("key", Kept.KEY, "job_key"),
    Field("spec.job_id", Kept.FIXED, export="job_id"),
    Field("spec.owner", Kept.FIXED, export="owner"),
    Field("spec.kind", Kept.FIXED, export="kind"),
    Field("display_name", Kept.CURRENT, export="display_name"),
    Field("state", Kept.STEADY, export="state"),
    Field("priority", Kept.STEADY, export="priority"),
    Field("progress.percent", Kept.COLUMN, export="percent"),
    Field("progress.stage", Kept.CURRENT, export="stage"),
    Field("progress.stage_percent", Kept.COLUMN, export="stage_percent"),
    Field("progress.message", Kept.CURRENT, export="message"),
    Field("progress.rate", Kept.CURRENT),
    Field("progress.items_completed", Kept.COLUMN, export="items_completed"),
    Field("progress.items_total", Kept.FIXED, export="items_total"),
    Field("counts.total", Kept.COMPUTED, export="chunks_total"),
    Field("counts.pending", Kept.COLUMN, "chunks_pending", export="chunks_pending"),
    Field("counts.processing", Kept.COLUMN, "chunks_processing", export="chunks_processing"),
    Field("counts.completed", Kept.COLUMN, "chunks_completed", export="chunks_completed"),
    Field("counts.failed", Kept.COLUMN, "chunks_failed", export="chunks_failed"),
    Field("counts.cancelled", Kept.COLUMN, "chunks_cancelled", export="chunks_cancelled"),
    Field("labels", Kept.CURRENT, export="labels"),
    Field("spec.create_time", Kept.FIXED, export="create_time"),
    Field("start_time", Kept.COLUMN, export="start_time"),
    Field("update_time", Kept.COLUMN, export="update_time"),
    Field("end_time", Kept.STEADY, export="end_time"),
    Field("expire_time", Kept.STEADY, export="expire_time"),
    Field("stage_timings", Kept.CURRENT, export="stage_timings"),
    Field("retry_count", Kept.STEADY, export="retry_count"),
    Field("result_uri", Kept.COMPUTED, export="result_uri"),
    Field("artifacts", Kept.VERSION, export="artifacts"),
    Field("error", Kept.COMPUTED, export="error"),
    Field("cancel_reason", Kept.CURRENT, export="cancel_reason"),
    Field("revision", Kept.COLUMN, export="revision"),
    Field("etag", Kept.COMPUTED),
    Field("progress.eta", Kept.COMPUTED),
    Field("progress.items_per_second", Kept.COMPUTED),
    Field("holds", Kept.COMPUTED),
    Field("spec.fingerprint", Kept.SETTLED),
    Field("spec.retry_policy", Kept.SETTLED),
    Field("spec.failure_policy", Kept.SETTLED),
    Field("spec.stages", Kept.SETTLED),
    Field("spec.traceparent", Kept.SETTLED),
    Field("spec.unique_key", Kept.SETTLED, export="unique_key"),
    Field("spec.run_timeout", Kept.SETTLED, export="run_timeout_seconds"),
    Field("spec.attempt_timeout", Kept.SETTLED, export="attempt_timeout_seconds"),
    Field("spec.limited_labels", Kept.SETTLED),
    Field("spec.finalizer_work", Kept.FIXED),
    Field("spec.uid_bytes", Kept.FIXED, "uid"),
    Field("spec.uid", Kept.COMPUTED, export="uid"),
    Field("counts.delayed", Kept.COLUMN, "chunks_delayed"),
    Field("progress.work_total", Kept.FIXED),
    Field("progress.work_done", Kept.COLUMN),
    Field("artifacts_revision", Kept.COLUMN),
    Field("declared_result", Kept.CURRENT),
    Field("output_bytes", Kept.COLUMN),
    Field("first_failure", Kept.CURRENT),
    Field("deadline", Kept.STEADY),
    Field("expires_by_rule", Kept.CURRENT),
    Field("retry_time", Kept.STEADY),
    Field("slots", Kept.CURRENT),
    Field("parked_for", Kept.STEADY),
    Field("held_until", Kept.STEADY),
    Field("claimable", Kept.STEADY),
    Field("schedule_time", Kept.STEADY, export="schedule_time"),
    Field("kept_attempts", Kept.CURRENT),
    Field("spec.unique_window", Kept.SETTLED),
    Field("etag_revision", Kept.CURRENT),
    Field("etag_time", Kept.CURRENT),
    Field("artifact_bytes", Kept.STEADY, default="0"),
)
"""In the order of the columns of an export."""

CHUNK_FIELDS: Final = (
    Field("job_key", Kept.KEY),
    Field("index", Kept.KEY, "chunk_index"),
    Field("create_time", Kept.FIXED),
    Field("first_item", Kept.FIXED),
    Field("last_item", Kept.FIXED),
    Field("finalizer_work", Kept.FIXED),
    Field("finalizer", Kept.COMPUTED),
    Field("state", Kept.STEADY),
    Field("attempt", Kept.STEADY),
    Field("max_attempts", Kept.STEADY),
    Field("fence", Kept.STEADY),
    Field("attempt_number", Kept.STEADY),
    Field("outcome", Kept.STEADY),
    Field("attempt_end_time", Kept.STEADY),
    Field("task_id", Kept.STEADY),
    Field("progress.done", Kept.COLUMN),
    Field("progress.percent", Kept.COMPUTED),
    Field("progress.stage", Kept.COLUMN),
    Field("progress.stage_percent", Kept.COLUMN),
    Field("progress.items_completed", Kept.COLUMN),
    Field("stage_time", Kept.COLUMN),
    Field("artifacts", Kept.VERSION),
    Field("artifacts_revision", Kept.COLUMN),
    Field("end_time", Kept.STEADY),
    Field("lease_expire_time", Kept.COLUMN),
    Field("lease_check_time", Kept.STEADY),
    Field("next_attempt_time", Kept.STEADY),
    Field("held", Kept.STEADY),
    Field("holds", Kept.COMPUTED),
    Field("worker", Kept.STEADY),
    Field("checkpoint", Kept.STEADY),
    Field("progress.message", Kept.CURRENT),
    Field("error", Kept.CURRENT),
    Field("start_time", Kept.CURRENT),
    Field("lease_duration", Kept.CURRENT),
    Field("attempt_timeout", Kept.CURRENT),
)

ATTEMPT_FIELDS: Final = (
    Field("job_key", Kept.KEY),
    Field("index", Kept.KEY, "chunk_index"),
    Field("attempt_number", Kept.KEY),
    Field("outcome", Kept.COLUMN),
    Field("attempt_end_time", Kept.COLUMN),
    Field("task_id", Kept.COLUMN),
    Field("worker", Kept.COLUMN),
    *(field for field in CHUNK_FIELDS if field.kept is Kept.CURRENT),
)
"""What is kept of a chunk as its attempt left it, when another one begins."""


def field_of(type_: Any, name: str) -> FieldInfo:  # noqa: ANN401  a type
    """Return the type and the default of an attribute."""
    return next(info for info in fields(type_) if info.name == name)


def type_of(root: Any, path: str) -> Any:  # noqa: ANN401  types
    """Return the type of an attribute: `type_of(Job, "progress.percent")` is float."""
    for name in path.split("."):
        member = getattr(root, name)
        root = _types_of(member.fget)["return"] if isinstance(member, property) else _types_of(root)[name]
    return root


@cache
def _types_of(annotated: Any) -> dict[str, Any]:  # noqa: ANN401  a type, or the function of a property
    return get_type_hints(annotated)


def plain_type(root: Any, path: str) -> tuple[Any, bool]:  # noqa: ANN401  types
    """Return the type of an attribute, int for times, without None, and whether it may be None."""
    type_ = type_of(root, path)
    optional = get_origin(type_) in (Union, UnionType)  # the first where the other type is a NewType
    if optional:
        [type_] = (member for member in get_args(type_) if member is not NoneType)
    return int if type_ is Micros else type_, optional
