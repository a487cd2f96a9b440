"""Requests of GetUsage as values, and sums as messages."""

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api import convert
from jobledger_service.core.api.checks import Checks, check_key_id
from jobledger_service.core.api.list_requests import time_range
from jobledger_service.transport.usage import UsageRow

from .store import DIMENSIONS, UsageQuery

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIMENSIONS: Final = {
    api.USAGE_DIMENSION_DAY: "day",
    api.USAGE_DIMENSION_OWNER: "owner",
    api.USAGE_DIMENSION_KEY: "key_id",
    api.USAGE_DIMENSION_METHOD: "method",
}


def usage(request: api.GetUsageRequest) -> UsageQuery:
    """Return the query of GetUsage."""
    with Checks() as checks:
        span = time_range(checks, "time_range", request.time_range)
        if request.owner:
            checks.owner("owner", request.owner)
        if request.key_id:
            check_key_id(checks, request.key_id)
        for index, number in enumerate(request.group_by):
            if number not in _DIMENSIONS:
                checks.fault(f"group_by[{index}]", f"value {number} must be DAY, OWNER, KEY or METHOD")
    asked = {_DIMENSIONS[number] for number in request.group_by}
    by = tuple(name for name in DIMENSIONS if name in asked) or DIMENSIONS
    return UsageQuery(
        by,
        "" if span.start is None else day_of(span.start),
        "" if span.end is None else day_of(span.end - 1),
        request.owner,
        request.key_id,
    )


def day_of(time: int, seconds_before: float = 0) -> str:
    """Return the day (UTC) so many seconds before a time in microseconds, as 2026-01-31."""
    return (_EPOCH + timedelta(microseconds=time, seconds=-seconds_before)).date().isoformat()


def used(row: UsageRow) -> api.Usage:
    """Return a sum as a message."""
    counts = row.counts
    return api.Usage(
        start_time=_start_of(row.day) if row.day else None,
        owner=row.owner,
        key_id=row.key_id,
        method=row.method,
        calls=counts.calls,
        errors=counts.errors,
        bytes_received=counts.received,
        bytes_sent=counts.sent,
        duration=convert.duration(counts.micros),
    )


def _start_of(day: str) -> Timestamp:
    start = Timestamp()
    start.FromJsonString(f"{day}T00:00:00Z")
    return start
