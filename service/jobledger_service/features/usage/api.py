"""GetUsage, a method of AdminService."""

from typing import Final

from jobledger.v1 import admin_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.paging import request_mark
from jobledger_service.core.ledger.readers import OPERATORS
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests
from .store import SqlUsageStore

METHODS: Final = (Method(ADMIN_SERVICE, "GetUsage", Role.ADMIN, Kind.READ, ("PAGE_TOKEN_INVALID",)),)


class UsageCalls(MsgStruct, frozen=True):
    """The method of AdminService for usage."""

    store: SqlUsageStore
    kernel: Kernel

    async def GetUsage(self, request: api.GetUsageRequest, caller: Caller) -> bytes:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=500, max_size=5_000)
        query = requests.usage(request)
        tokens, mark = self.kernel.tokens, request_mark("usage", query)
        after = tokens.parse(request.page_token, mark, tuple[str, ...])

        def read() -> bytes:
            rows, token = self.store.sums(query, after, limit + 1), ""
            if len(rows) > limit:
                token = tokens.encode(mark, *(getattr(rows[limit - 1], name) for name in query.by))
            return api.GetUsageResponse(
                usage=map(requests.used, rows[:limit]),
                next_page_token=token,
                quota=self.kernel.quotas.of(query.owner) if query.owner and not request.page_token else None,
            ).SerializeToString()

        return await self.kernel.readers.for_owner(OPERATORS, read)
