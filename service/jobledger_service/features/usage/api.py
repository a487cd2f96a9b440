"""GetUsage, a method of AdminService."""

from dataclasses import dataclass

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.transport.identity import Caller

from . import requests
from .queries import UsageQueries


@dataclass(frozen=True, slots=True)
class UsageCalls:
    """The method of AdminService for usage."""

    usage: UsageQueries

    async def GetUsage(self, request: api.GetUsageRequest, caller: Caller) -> api.GetUsageResponse:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=500, max_size=5_000)
        page = await self.usage.page(requests.usage(request), limit, request.page_token)
        return api.GetUsageResponse(usage=map(requests.used, page.rows), next_page_token=page.next_page_token)
