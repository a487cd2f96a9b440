"""GetUsage, a method of AdminService."""

from typing import Final

from jobledger.v1 import admin_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import convert
from jobledger_service.core.api.checks import MAX_NUMBERS, Checks, check_key_id
from jobledger_service.core.api.list_requests import time_range
from jobledger_service.core.api.owners import owner_or_all, reading_owner
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method
from jobledger_service.transport.usage import UsageRow

from .store import DIMENSIONS, SqlUsageStore, UsageQuery, day_of

_DIMENSIONS: Final = {
    api.USAGE_DIMENSION_DAY: "day",
    api.USAGE_DIMENSION_OWNER: "owner",
    api.USAGE_DIMENSION_KEY: "key_id",
    api.USAGE_DIMENSION_METHOD: "method",
}

METHODS: Final = (Method(ADMIN_SERVICE, "GetUsage", Role.OWNER_ADMIN, Kind.READ),)


def query_of(request: api.GetUsageRequest, owner: str) -> UsageQuery:
    """Return the query of GetUsage about an owner, or about all when it is empty."""
    with Checks() as checks:
        span = time_range(checks, "time_range", request.time_range)
        if request.key_id:
            check_key_id(checks, request.key_id)
        checks.count("group_by", len(request.group_by), MAX_NUMBERS)
        for index, number in enumerate(request.group_by):
            if number not in _DIMENSIONS:
                checks.fault(f"group_by[{index}]", f"value {number} must be DAY, OWNER, KEY or METHOD")
    names = {_DIMENSIONS[number] for number in request.group_by}
    by = tuple(name for name in DIMENSIONS if name in names) or DIMENSIONS
    return UsageQuery(
        by,
        "" if span.start is None else day_of(span.start),
        "" if span.end is None else day_of(span.end - 1),
        owner,
        request.key_id,
    )


def used(row: UsageRow) -> api.Usage:
    """Return a sum as a message."""
    counts = row.counts
    message = api.Usage(
        owner=row.owner,
        key_id=row.key_id,
        method=row.method,
        calls=counts.calls,
        errors=counts.errors,
        bytes_received=counts.received,
        bytes_sent=counts.sent,
        duration=convert.duration(counts.micros),
    )
    if row.day:
        message.start_time.FromJsonString(f"{row.day}T00:00:00Z")
    return message


class UsageCalls(MsgStruct, frozen=True):
    """The method of AdminService for usage."""

    store: SqlUsageStore
    kernel: Kernel

    async def GetUsage(self, request: api.GetUsageRequest, caller: Caller) -> bytes:
        query = query_of(request, owner_or_all(request, caller))

        def page(after: tuple[str, ...] | None, limit: int) -> tuple[bytes, tuple[str, ...] | None]:
            rows = self.store.sums(query, after, limit + 1)
            quota = self.kernel.quotas.of(query.owner) if query.owner and after is None else None
            shown = api.GetUsageResponse(usage=map(used, rows[:limit]), quota=quota).SerializeToString()
            return shown, tuple(getattr(rows[limit - 1], name) for name in query.by) if len(rows) > limit else None

        shown, token = await self.kernel.read_page(
            reading_owner(caller), request, ("usage", query), tuple[str, ...], page, max_size=5_000
        )
        return shown + api.GetUsageResponse(next_page_token=token).SerializeToString()
