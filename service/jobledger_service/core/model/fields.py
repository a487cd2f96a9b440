"""The fields of jobs and of chunks, one line each: where each is kept.

The store makes its columns, its bodies and its functions between rows and values from these tables when it is imported.
"""

from enum import Enum, auto
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_type_hints

from msgspec import Struct as MsgStruct


class Kept(Enum):
    """Where the store keeps a field."""

    KEY = auto()
    """In a column of the primary key."""
    FIXED = auto()
    """In a column of its own, and it never changes."""
    COLUMN = auto()
    """In a column of its own: SQL filters, orders, counts, constrains or sets it."""
    SETTLED = auto()
    """In the body of what never changes. New ones come last, and have a default."""
    CURRENT = auto()
    """In the body of what changes. New ones come last, and have a default."""
    VERSION = auto()
    """In a table of versions, by the revision that brought it."""


class Field(MsgStruct, frozen=True):
    """A field, by its attribute, such as "progress.percent". Its column or place in a body has the attribute's name."""

    path: str
    kept: Kept
    named: str = ""
    """Another name of the column."""

    @property
    def name(self) -> str:
        """The name of the column, or of the place in a body."""
        return self.named or self.path.rpartition(".")[2]


JOB_FIELDS: Final = (
    Field("key", Kept.KEY, "job_key"),
    Field("spec.owner", Kept.FIXED),
    Field("spec.job_id", Kept.FIXED),
    Field("spec.kind", Kept.FIXED),
    Field("spec.create_time", Kept.FIXED),
    Field("spec.import_time", Kept.FIXED),
    Field("progress.work_total", Kept.FIXED),
    Field("progress.items_total", Kept.FIXED),
    Field("spec.fingerprint", Kept.SETTLED),
    Field("spec.retry_policy", Kept.SETTLED),
    Field("spec.failure_policy", Kept.SETTLED),
    Field("spec.stages", Kept.SETTLED),
    Field("spec.traceparent", Kept.SETTLED),
    Field("priority", Kept.COLUMN),
    Field("state", Kept.COLUMN),
    Field("revision", Kept.COLUMN),
    Field("retry_count", Kept.COLUMN),
    Field("counts.pending", Kept.COLUMN, "chunks_pending"),
    Field("counts.processing", Kept.COLUMN, "chunks_processing"),
    Field("counts.completed", Kept.COLUMN, "chunks_completed"),
    Field("counts.failed", Kept.COLUMN, "chunks_failed"),
    Field("counts.cancelled", Kept.COLUMN, "chunks_cancelled"),
    Field("progress.work_done", Kept.COLUMN),
    Field("progress.items_completed", Kept.COLUMN),
    Field("progress.percent", Kept.COLUMN),
    Field("progress.stage_percent", Kept.COLUMN),
    Field("artifacts", Kept.VERSION),
    Field("artifacts_revision", Kept.COLUMN),
    Field("cancel_deadline", Kept.COLUMN),
    Field("update_time", Kept.COLUMN),
    Field("end_time", Kept.COLUMN),
    Field("expire_time", Kept.COLUMN),
    Field("parked_for", Kept.COLUMN),
    Field("display_name", Kept.CURRENT),
    Field("labels", Kept.CURRENT),
    Field("progress.stage", Kept.CURRENT),
    Field("progress.message", Kept.CURRENT),
    Field("progress.rate", Kept.CURRENT),
    Field("stage_timings", Kept.CURRENT),
    Field("declared_result", Kept.CURRENT),
    Field("first_failure", Kept.CURRENT),
    Field("cancel_reason", Kept.CURRENT),
    Field("start_time", Kept.CURRENT),
    Field("expires_by_rule", Kept.CURRENT),
    Field("retry_time", Kept.CURRENT),
    Field("slots", Kept.CURRENT),
)

CHUNK_FIELDS: Final = (
    Field("job_key", Kept.KEY),
    Field("index", Kept.KEY, "chunk_index"),
    Field("create_time", Kept.FIXED),
    Field("first_item", Kept.FIXED),
    Field("last_item", Kept.FIXED),
    Field("state", Kept.COLUMN),
    Field("attempt", Kept.COLUMN),
    Field("max_attempts", Kept.COLUMN),
    Field("fence", Kept.COLUMN),
    Field("lease_end", Kept.COLUMN),
    Field("progress.done", Kept.COLUMN),
    Field("progress.stage", Kept.COLUMN),
    Field("progress.stage_percent", Kept.COLUMN),
    Field("progress.items_completed", Kept.COLUMN),
    Field("stage_time", Kept.COLUMN),
    Field("artifacts", Kept.VERSION),
    Field("artifacts_revision", Kept.COLUMN),
    Field("end_time", Kept.COLUMN),
    Field("lease_expire_time", Kept.COLUMN),
    Field("not_before", Kept.COLUMN),
    Field("task_id", Kept.CURRENT),
    Field("worker", Kept.CURRENT),
    Field("progress.message", Kept.CURRENT),
    Field("error", Kept.CURRENT),
    Field("start_time", Kept.CURRENT),
)


def type_of(root: Any, path: str) -> Any:  # noqa: ANN401  types
    """Return the type of an attribute: `type_of(Job, "progress.percent")` is float."""
    for name in path.split("."):
        member = getattr(root, name)
        root = get_type_hints(member.fget)["return"] if isinstance(member, property) else get_type_hints(root)[name]
    return root


def plain_type(root: Any, path: str) -> tuple[Any, bool]:  # noqa: ANN401  types
    """Return the type of an attribute without None, and whether it may be None."""
    type_ = type_of(root, path)
    if not isinstance(type_, UnionType):
        return type_, False
    [plain] = (one for one in get_args(type_) if one is not NoneType)
    return plain, True
