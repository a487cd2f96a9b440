"""Conversions from Python values to protobuf's messages and enums."""

from collections.abc import Mapping
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
    """Return the number. Raises ValueError with the field for NaN and infinity."""
    if not isfinite(value):
        raise ValueError(f"{field}: must be a finite number; got {value}")
    return value


def timestamp(value: TimestampLike | None) -> Timestamp | None:
    """Return an aware datetime as a Timestamp. Raises ValueError for a naive one, whose time zone is unknown."""
    if value is None or isinstance(value, Timestamp):
        return value
    if value.tzinfo is None:
        raise ValueError(f"a datetime must have a time zone, such as datetime.now(tz=timezone.utc); got {value!r}")
    message = Timestamp()
    try:
        message.FromDatetime(value)
    except OverflowError:
        raise ValueError(f"a datetime must be in the years 1 to 9999 of UTC; got {value.isoformat()}") from None
    return message


def duration(value: DurationLike | None) -> Duration | None:
    """Return a timedelta as a Duration."""
    if value is None or isinstance(value, Duration):
        return value
    message = Duration()
    message.FromTimedelta(value)
    return message


def time_range(value: TimeRangeLike | None) -> TimeRange | None:
    """Return (start, end), either may be None, as a TimeRange; start is inclusive, end exclusive."""
    if value is None or isinstance(value, TimeRange):
        return value
    start, end = value
    return TimeRange(start_time=timestamp(start), end_time=timestamp(end))


def job_state(value: JobStateLike) -> JobState.ValueType:
    """Return the state with this name: RUNNING, running and JOB_STATE_RUNNING are the same."""
    return value if isinstance(value, int) else JobState.Value(_enum_name("state", "JOB_STATE_", JobState, value))


def chunk_state(value: ChunkStateLike) -> ChunkState.ValueType:
    """Return the chunk state with this name."""
    return value if isinstance(value, int) else ChunkState.Value(_enum_name("state", "CHUNK_STATE_", ChunkState, value))


def job_view(value: JobViewLike) -> JobView.ValueType:
    """Return the view with this name: FULL, BASIC or STATUS."""
    return value if isinstance(value, int) else JobView.Value(_enum_name("view", "JOB_VIEW_", JobView, value))


def job_order(value: JobOrderLike) -> JobOrder.ValueType:
    """Return the order with this name: CREATE_TIME, UPDATE_TIME, END_TIME or PRIORITY."""
    return value if isinstance(value, int) else JobOrder.Value(_enum_name("order", "JOB_ORDER_", JobOrder, value))


def watch_mode(value: WatchModeLike) -> WatchMode.ValueType:
    """Return the mode with this name: LATEST or EVERY."""
    return value if isinstance(value, int) else WatchMode.Value(_enum_name("mode", "WATCH_MODE_", WatchMode, value))


def stats_step(value: StatsStepLike) -> StatsStep.ValueType:
    """Return the step with this name: HOUR or DAY."""
    return value if isinstance(value, int) else StatsStep.Value(_enum_name("step", "STATS_STEP_", StatsStep, value))


def failure_policy(value: FailurePolicyLike) -> FailurePolicy.ValueType:
    """Return the policy with this name: RUN_ALL or FAIL_FAST."""
    if isinstance(value, int):
        return value
    return FailurePolicy.Value(_enum_name("failure_policy", "FAILURE_POLICY_", FailurePolicy, value))


def export_format(value: ExportFormatLike) -> ExportFormat.ValueType:
    """Return the format with this name: CSV, or JSON_LINES, which is also called jsonl."""
    if isinstance(value, int):
        return value
    name = "JSON_LINES" if value.upper() == "JSONL" else value
    return ExportFormat.Value(_enum_name("format", "EXPORT_FORMAT_", ExportFormat, name))


def role(value: RoleLike) -> Role.ValueType:
    """Return the role with this name: CALLER, WORKER or ADMIN."""
    return value if isinstance(value, int) else Role.Value(_enum_name("role", "ROLE_", Role, value))


def usage_dimension(value: UsageDimensionLike) -> UsageDimension.ValueType:
    """Return the dimension with this name: DAY, OWNER, KEY or METHOD."""
    if isinstance(value, int):
        return value
    return UsageDimension.Value(_enum_name("group_by", "USAGE_DIMENSION_", UsageDimension, value))


def webhook_event_type(value: WebhookEventTypeLike) -> WebhookEventType.ValueType:
    """Return the event type with this name: job.completed and JOB_COMPLETED are the same."""
    if isinstance(value, int):
        return value
    dotted = value.upper().removeprefix("WEBHOOK_EVENT_TYPE_").replace("_", ".").lower()
    if dotted not in _EVENT_TYPES:
        raise ValueError(f"event_type must be one of {', '.join(_EVENT_TYPES)}; got {value!r}")
    return _EVENT_TYPES[dotted]


def webhook_delivery_state(value: WebhookDeliveryStateLike) -> WebhookDeliveryState.ValueType:
    """Return the state with this name: PENDING, DELIVERED or DEAD."""
    if isinstance(value, int):
        return value
    return WebhookDeliveryState.Value(_enum_name("state", "WEBHOOK_DELIVERY_STATE_", WebhookDeliveryState, value))


def _enum_name(field: str, prefix: str, enum: Any, word: str) -> str:  # noqa: ANN401 - an enum of protobuf
    name: str = prefix + word.upper().replace("-", "_").removeprefix(prefix)
    if name in enum.keys():  # noqa: SIM118 - an enum of protobuf is no mapping
        return name
    allowed = [one.removeprefix(prefix) for one in enum.keys() if not one.endswith("_UNSPECIFIED")]  # noqa: SIM118
    raise ValueError(f"{field} must be one of {', '.join(allowed)}; got {word!r}")
