"""Requests of GetUsage as values, and sums as messages."""

import re
from typing import Final

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api import convert
from jobledger_service.core.api.checks import Checks, check_key_id
from jobledger_service.transport.usage import UsageRow

from .store import DIMENSIONS, UsageQuery

DAY_PATTERN: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")

_DIMENSIONS: Final = {
    api.USAGE_DIMENSION_DAY: "day",
    api.USAGE_DIMENSION_OWNER: "owner",
    api.USAGE_DIMENSION_KEY: "key_id",
    api.USAGE_DIMENSION_METHOD: "method",
}


def usage(request: api.GetUsageRequest) -> UsageQuery:
    """Return the query of GetUsage."""
    checks = Checks()
    for field, day in (("start_day", request.start_day), ("end_day", request.end_day)):
        if day:
            checks.form(field, day, DAY_PATTERN, "a day such as 2026-01-31")
    if request.owner:
        checks.owner("owner", request.owner)
    if request.key_id:
        check_key_id(checks, request.key_id)
    for index, number in enumerate(request.group_by):
        if number not in _DIMENSIONS:
            checks.fault(f"group_by[{index}]", f"value {number} must be DAY, OWNER, KEY or METHOD")
    checks.done()
    asked = {_DIMENSIONS[number] for number in request.group_by}
    by = tuple(name for name in DIMENSIONS if name in asked) or DIMENSIONS
    return UsageQuery(by, request.start_day, request.end_day, request.owner, request.key_id)


def used(row: UsageRow) -> api.Usage:
    """Return a sum as a message."""
    counts = row.counts
    return api.Usage(
        day=row.day,
        owner=row.owner,
        key_id=row.key_id,
        method=row.method,
        calls=counts.calls,
        errors=counts.errors,
        bytes_received=counts.received,
        bytes_sent=counts.sent,
        duration=convert.duration(counts.micros),
    )
