"""The methods of AdminService about quotas."""

from functools import partial
from typing import Final

from jobledger.v1 import admin_service_pb2 as api
from msgspec import Struct as MsgStruct
from msgspec.structs import asdict

from jobledger_service.core.api import audit
from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.owners import read_owner
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.paging import request_mark
from jobledger_service.core.ledger.readers import OPERATORS
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .store import SqlQuotaStore
from .watch_bounds import WatchBounds

METHODS: Final = (
    Method(ADMIN_SERVICE, "SetQuota", Role.ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "GetQuota", Role.ADMIN, Kind.READ),
    Method(ADMIN_SERVICE, "ListQuotas", Role.ADMIN, Kind.READ, ("PAGE_TOKEN_INVALID",)),
    Method(ADMIN_SERVICE, "DeleteQuota", Role.ADMIN, Kind.WRITE),
)


class QuotaCalls(MsgStruct, frozen=True):
    """The calls that set, show and remove quotas."""

    kernel: Kernel
    store: SqlQuotaStore
    watch_bounds: WatchBounds

    async def SetQuota(self, request: api.SetQuotaRequest, caller: Caller) -> api.SetQuotaResponse:
        quota = read.new_quota(request, caller, self.kernel.clock())
        await self.kernel.committer.run_on_writer(partial(self.store.put, quota))
        self.watch_bounds.forget(quota.owner)
        audit.record("quota set", request, caller, quota.owner, **asdict(quota.bounds))
        return api.SetQuotaResponse(quota=await self._shown(quota.owner))

    async def GetQuota(self, request: api.GetQuotaRequest, caller: Caller) -> api.GetQuotaResponse:
        return api.GetQuotaResponse(quota=await self._shown(read_owner(request, caller)))

    async def ListQuotas(self, request: api.ListQuotasRequest, caller: Caller) -> api.ListQuotasResponse:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=100, max_size=500)
        tokens, mark = self.kernel.tokens, request_mark("quotas")
        (after,) = tokens.parse(request.page_token, mark, tuple[str]) or ("",)
        found = await self.kernel.readers.for_owner(OPERATORS, self.kernel.quotas.page, after, limit + 1)
        next_page_token = tokens.encode(mark, found[limit - 1].owner) if len(found) > limit else ""
        return api.ListQuotasResponse(quotas=found[:limit], next_page_token=next_page_token)

    async def DeleteQuota(self, request: api.DeleteQuotaRequest, caller: Caller) -> api.DeleteQuotaResponse:
        owner = read.deletion(request, caller)
        deleted = await self.kernel.committer.run_on_writer(partial(self.store.delete, owner))
        self.watch_bounds.forget(owner)
        audit.record("quota deleted", request, caller, owner)
        return api.DeleteQuotaResponse(deleted=deleted)

    async def _shown(self, owner: str) -> api.Quota:
        return await self.kernel.readers.for_owner(OPERATORS, self.kernel.quotas.of, owner)
