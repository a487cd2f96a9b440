"""GetUsage, a method of AdminService."""

from dataclasses import dataclass
from typing import Final

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests
from .queries import UsagePage, UsageQueries

METHODS: Final = (Method(ADMIN_SERVICE, "GetUsage", Role.ADMIN, Kind.READ),)


@dataclass(frozen=True, slots=True)
class UsageCalls:
    """The method of AdminService for usage."""

    usage: UsageQueries

    async def GetUsage(self, request: api.GetUsageRequest, caller: Caller) -> bytes:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=500, max_size=5_000)
        return await self.usage.page(requests.usage(request), limit, request.page_token, _reply)


def _reply(page: UsagePage) -> bytes:
    reply = api.GetUsageResponse(usage=map(requests.used, page.rows), next_page_token=page.next_page_token)
    return reply.SerializeToString()
