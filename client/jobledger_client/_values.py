"""From Python values to the well-known messages of protobuf."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.admin_service_pb2 import Role, UsageDimension
from jobledger.v1.chunk_pb2 import ChunkState
from jobledger.v1.export_pb2 import ExportFormat
from jobledger.v1.filter_pb2 import TimeRange
from jobledger.v1.job_pb2 import FailurePolicy, JobState, JobView
from jobledger.v1.job_service_pb2 import JobOrder, WatchMode
from jobledger.v1.stats_pb2 import StatsStep
from jobledger.v1.webhook_pb2 import WebhookDeliveryState, WebhookEventType

StructLike: TypeAlias = Struct | Mapping[str, Any]
TimestampLike: TypeAlias = Timestamp | datetime
DurationLike: TypeAlias = Duration | timedelta
TimeRangeLike: TypeAlias = TimeRange | tuple[TimestampLike | None, TimestampLike | None]

JobStateLike: TypeAlias = JobState.ValueType | str
ChunkStateLike: TypeAlias = ChunkState.ValueType | str
JobViewLike: TypeAlias = JobView.ValueType | str
JobOrderLike: TypeAlias = JobOrder.ValueType | str
WatchModeLike: TypeAlias = WatchMode.ValueType | str
StatsStepLike: TypeAlias = StatsStep.ValueType | str
FailurePolicyLike: TypeAlias = FailurePolicy.ValueType | str
ExportFormatLike: TypeAlias = ExportFormat.ValueType | str
RoleLike: TypeAlias = Role.ValueType | str
UsageDimensionLike: TypeAlias = UsageDimension.ValueType | str
DayLike: TypeAlias = date | str
WebhookEventTypeLike: TypeAlias = WebhookEventType.ValueType | str
WebhookDeliveryStateLike: TypeAlias = WebhookDeliveryState.ValueType | str

_EVENT_TYPES = {
    name.removeprefix("WEBHOOK_EVENT_TYPE_").replace("_", ".").lower(): number
    for name, number in WebhookEventType.items()
    if number
}

TERMINAL_STATES = frozenset(
    {JobState.JOB_STATE_COMPLETED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED},
)


def finite(value: float, field: str) -> float:
    """Return a number, unless it is NaN or infinite: ValueError with the field."""
    if not isfinite(value):
        raise ValueError(f"{field}: {value} is not a finite number")
    return value


def timestamp(value: TimestampLike | None) -> Timestamp | None:
    """Return an aware datetime as a Timestamp. Raises ValueError for a naive one, whose moment nobody knows."""
    if value is None or isinstance(value, Timestamp):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; use datetime.now(tz=timezone.utc) or another aware datetime")
    message = Timestamp()
    try:
        message.FromDatetime(value)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} is beyond the years 1 to 9999 in UTC") from None
    return message


def duration(value: DurationLike | None) -> Duration | None:
    """Return a timedelta as a Duration."""
    if value is None or isinstance(value, Duration):
        return value
    message = Duration()
    message.FromTimedelta(value)
    return message


def time_range(value: TimeRangeLike | None) -> TimeRange | None:
    """Return (start, end), either of which may be None, as a TimeRange: start is in, end is out."""
    if value is None or isinstance(value, TimeRange):
        return value
    start, end = value
    return TimeRange(start_time=timestamp(start), end_time=timestamp(end))


def job_state(value: JobStateLike) -> JobState.ValueType:
    """Return the state of this name: RUNNING, running and JOB_STATE_RUNNING are the same."""
    return value if isinstance(value, int) else JobState.Value(_enum_name(JobState.keys(), "JOB_STATE_", value))


def chunk_state(value: ChunkStateLike) -> ChunkState.ValueType:
    """Return the chunk state of this name."""
    return value if isinstance(value, int) else ChunkState.Value(_enum_name(ChunkState.keys(), "CHUNK_STATE_", value))


def job_view(value: JobViewLike) -> JobView.ValueType:
    """Return the view of this name: FULL, BASIC or STATUS."""
    return value if isinstance(value, int) else JobView.Value(_enum_name(JobView.keys(), "JOB_VIEW_", value))


def job_order(value: JobOrderLike) -> JobOrder.ValueType:
    """Return the order of this name: CREATE_TIME, UPDATE_TIME, END_TIME or PRIORITY."""
    return value if isinstance(value, int) else JobOrder.Value(_enum_name(JobOrder.keys(), "JOB_ORDER_", value))


def watch_mode(value: WatchModeLike) -> WatchMode.ValueType:
    """Return the mode of this name: LATEST or EVERY."""
    return value if isinstance(value, int) else WatchMode.Value(_enum_name(WatchMode.keys(), "WATCH_MODE_", value))


def stats_step(value: StatsStepLike) -> StatsStep.ValueType:
    """Return the step of this name: HOUR or DAY."""
    return value if isinstance(value, int) else StatsStep.Value(_enum_name(StatsStep.keys(), "STATS_STEP_", value))


def failure_policy(value: FailurePolicyLike) -> FailurePolicy.ValueType:
    """Return the policy of this name: RUN_ALL or FAIL_FAST."""
    return (
        value
        if isinstance(value, int)
        else FailurePolicy.Value(_enum_name(FailurePolicy.keys(), "FAILURE_POLICY_", value))
    )


def export_format(value: ExportFormatLike) -> ExportFormat.ValueType:
    """Return the format of this name: CSV or JSON_LINES, which may also be called jsonl."""
    if isinstance(value, int):
        return value
    word = "JSON_LINES" if value.upper() == "JSONL" else value
    return ExportFormat.Value(_enum_name(ExportFormat.keys(), "EXPORT_FORMAT_", word))


def role(value: RoleLike) -> Role.ValueType:
    """Return the role of this name: CALLER, WORKER or ADMIN."""
    return value if isinstance(value, int) else Role.Value(_enum_name(Role.keys(), "ROLE_", value))


def usage_dimension(value: UsageDimensionLike) -> UsageDimension.ValueType:
    """Return the dimension of this name: DAY, OWNER, KEY or METHOD."""
    return (
        value
        if isinstance(value, int)
        else UsageDimension.Value(_enum_name(UsageDimension.keys(), "USAGE_DIMENSION_", value))
    )


def webhook_event_type(value: WebhookEventTypeLike) -> WebhookEventType.ValueType:
    """Return the event type of this name: job.completed and JOB_COMPLETED are the same."""
    if isinstance(value, int):
        return value
    dotted = value.upper().removeprefix("WEBHOOK_EVENT_TYPE_").replace("_", ".").lower()
    if dotted not in _EVENT_TYPES:
        raise ValueError(f"{value!r} is none of {', '.join(_EVENT_TYPES)}")
    return _EVENT_TYPES[dotted]


def webhook_delivery_state(value: WebhookDeliveryStateLike) -> WebhookDeliveryState.ValueType:
    """Return the state of this name: PENDING, DELIVERED or DEAD."""
    if isinstance(value, int):
        return value
    return WebhookDeliveryState.Value(_enum_name(WebhookDeliveryState.keys(), "WEBHOOK_DELIVERY_STATE_", value))


def _enum_name(names: Iterable[str], prefix: str, word: str) -> str:
    name = prefix + word.upper().replace("-", "_").removeprefix(prefix)
    if name in names:
        return name
    known = [one.removeprefix(prefix) for one in names if not one.endswith("_UNSPECIFIED")]
    raise ValueError(f"{word!r} is none of {', '.join(known)}")
