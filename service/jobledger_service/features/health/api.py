"""AdminService: read the request, submit, query or look, map, return."""

from dataclasses import dataclass

from jobledger.v1 import admin_service_pb2 as api
from jobledger.v1 import system_health_pb2

from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.features.access.api import KeyCalls
from jobledger_service.features.usage.queries import UsageQueries
from jobledger_service.features.usage.requests import usage, used
from jobledger_service.transport.identity import Caller

from .checker import Checkup
from .replies import About, system_health


@dataclass(frozen=True, slots=True)
class AdminService(KeyCalls):
    """The calls of operators: those about keys, about usage, and about the health of the server."""

    usage: UsageQueries
    checkup: Checkup
    about: About

    async def GetUsage(self, request: api.GetUsageRequest, caller: Caller) -> api.GetUsageResponse:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=500, most=5_000)
        page = await self.usage.page(usage(request), limit, request.page_token)
        return api.GetUsageResponse(usage=map(used, page.rows), next_page_token=page.next_page_token)

    async def GetSystemHealth(
        self,
        request: system_health_pb2.GetSystemHealthRequest,  # noqa: ARG002  it asks nothing more
        caller: Caller,  # noqa: ARG002  it is the same for all
    ) -> system_health_pb2.GetSystemHealthResponse:
        found = await self.checkup.look()
        return system_health_pb2.GetSystemHealthResponse(health=system_health(found, self.about))
