"""Conversions from Python values to protobuf's messages."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf, isfinite
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.filter_pb2 import TimeRange

from jobledger_client._contract_enum import ContractEnum

StructLike: TypeAlias = Struct | Mapping[str, Any]
TimestampLike: TypeAlias = Timestamp | datetime
DurationLike: TypeAlias = Duration | timedelta
TimeRangeLike: TypeAlias = TimeRange | tuple[TimestampLike | None, TimestampLike | None]

_MAX_DELAY = timedelta(days=7)


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


def future_time(value: TimestampLike | timedelta | None) -> Timestamp | None:
    """Return a time, or the time that is a timedelta from now, as a Timestamp."""
    return timestamp(datetime.now(tz=UTC) + value if isinstance(value, timedelta) else value)


def duration(value: DurationLike | None) -> Duration | None:
    """Return a timedelta as a Duration."""
    if value is None or isinstance(value, Duration):
        return value
    message = Duration()
    message.FromTimedelta(value)
    return message


def seconds(value: timedelta | None) -> float:
    """Return a timeout in seconds; infinity for None, which means no limit. Raises TypeError for a number."""
    if value is None:
        return inf
    if not isinstance(value, timedelta):
        raise TypeError(f"a timeout must be a timedelta, such as timedelta(seconds=30); got {value!r}")
    return value.total_seconds()


def delay(value: timedelta) -> timedelta:
    """Return a delay of chunks. Raises TypeError for a number, and ValueError for a delay that the service refuses."""
    if not isinstance(value, timedelta):
        raise TypeError(f"a delay must be a timedelta, such as timedelta(seconds=30); got {value!r}")
    if not timedelta(0) <= value <= _MAX_DELAY:
        raise ValueError(f"a delay must be 0 s to 7 days; got {value.total_seconds():g} s")
    return value


def time_range(value: TimeRangeLike | None) -> TimeRange | None:
    """Return (start, end), either may be None, as a TimeRange; start is inclusive, end exclusive."""
    if value is None or isinstance(value, TimeRange):
        return value
    start, end = value
    return TimeRange(start_time=timestamp(start), end_time=timestamp(end))


def number(value: ContractEnum | None) -> Any:  # noqa: ANN401 - protobuf has a type of its own for each enum
    """Return a member of an enum for a field of a message. Raises TypeError for a name: "RUNNING" is no JobState."""
    if value is not None and not isinstance(value, int):
        raise TypeError(f"an enum's value must be a member, such as JobState.RUNNING; got {value!r}")
    return value


def numbers(values: Iterable[ContractEnum]) -> list[Any]:
    """Return members of an enum for a repeated field of a message."""
    return [number(value) for value in values]
