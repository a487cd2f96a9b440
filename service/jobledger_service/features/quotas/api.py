"""The methods of AdminService about quotas, and the bounds on open watches."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from jobledger.v1 import admin_service_pb2 as api
from msgspec import Struct as MsgStruct
from msgspec.structs import asdict

from jobledger_service.core.api import audit
from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.owners import owner_of, read_owner, reading_owner
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.database.rows.quotas import Quota
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.quotas import Bounds
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.read.loader import Loader
from jobledger_service.core.read.readers import OPERATORS
from jobledger_service.transport.identity import ANY_ROLE, Caller, Role
from jobledger_service.transport.methods import Kind, Method

from .store import SqlQuotaStore

MAX_JOB_QUOTA: Final = 10**12
MAX_WATCHES: Final = 1_000_000
MAX_BYTES: Final = 10**18
_LARGEST: Final = {
    "max_unfinished_jobs": MAX_JOB_QUOTA,
    "max_stored_jobs": MAX_JOB_QUOTA,
    "max_watches": MAX_WATCHES,
    "max_artifact_bytes": MAX_BYTES,
}

VALID_SECONDS: Final = 1.0
"""Seconds for which a bound on watches is valid: for so long another replica may keep an old one."""
MAX_OWNERS: Final = 10_000
"""Owners whose bounds on watches are remembered."""

METHODS: Final = (
    Method(ADMIN_SERVICE, "SetQuota", Role.ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "GetQuota", ANY_ROLE, Kind.READ),
    Method(ADMIN_SERVICE, "ListQuotas", ANY_ROLE, Kind.READ),
    Method(ADMIN_SERVICE, "DeleteQuota", Role.ADMIN, Kind.WRITE),
)


def new_quota(request: api.SetQuotaRequest, caller: Caller, now: Micros) -> Quota:
    """Return the quota that is to be set at the time `now`, in microseconds."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        for name, largest in _LARGEST.items():
            checks.within(name, getattr(request, name), 0, largest)
        checks.reason(request.reason)
    values = {field.name: value for field, value in request.ListFields()}
    bounds = Bounds(*map(values.get, Bounds.__struct_fields__))
    return Quota(owner, bounds, request.reason, caller.name, now)


class WatchBounds:
    """How many watches an owner may have open at this process: remembered, so that a watch costs no read.

    While the database is away the last known bounds hold, or the defaults.
    """

    def __init__(self, kernel: Kernel, store: SqlQuotaStore) -> None:
        self._kernel = kernel
        self._store = store
        self._known: dict[str, tuple[int | None, float]] = {}
        self._loader = Loader(self._load)

    async def __call__(self, owner: str) -> int | None:
        """Return how many watches an owner may have open; None for any number."""
        bound, until = self._known.get(owner, (self._kernel.quotas.defaults.max_watches, 0.0))
        if asyncio.get_running_loop().time() < until:
            return bound
        try:
            return await self._loader.load(owner)
        except Refusal:
            return bound

    def forget(self, owner: str) -> None:
        """Read an owner's bound again."""
        self._known.pop(owner, None)

    async def _load(self, owners: Sequence[str]) -> Callable[[str], int | None]:
        until = asyncio.get_running_loop().time() + VALID_SECONDS
        quotas_ = await self._kernel.readers.for_server(self._store.find, owners)
        if len(self._known) > MAX_OWNERS:
            self._known.clear()
        for owner in owners:
            bounds = quotas_.get(owner, Quota(owner)).bounds.or_(self._kernel.quotas.defaults)
            self._known[owner] = (bounds.max_watches, until)
        return lambda owner: self._known[owner][0]


class QuotaCalls(MsgStruct, frozen=True):
    """The calls that set, show and remove quotas."""

    kernel: Kernel
    store: SqlQuotaStore
    watch_bounds: WatchBounds

    async def SetQuota(self, request: api.SetQuotaRequest, caller: Caller) -> api.SetQuotaResponse:
        quota = new_quota(request, caller, self.kernel.clock())
        await self.kernel.committer.run_on_writer(partial(self.store.put, quota))
        self.watch_bounds.forget(quota.owner)
        audit.record("quota set", request, caller, quota.owner, **asdict(quota.bounds))
        return api.SetQuotaResponse(quota=await self._shown(quota.owner, caller))

    async def GetQuota(self, request: api.GetQuotaRequest, caller: Caller) -> api.GetQuotaResponse:
        return api.GetQuotaResponse(quota=await self._shown(read_owner(request, caller), caller))

    async def ListQuotas(self, request: api.ListQuotasRequest, caller: Caller) -> api.ListQuotasResponse:
        reader = reading_owner(caller)
        page = self.kernel.quotas.page if reader == OPERATORS else partial(self.kernel.quotas.page_of, caller.owner)
        quotas, token = await self.kernel.read_page(reader, request, ("quotas", reader), tuple[str], page)
        return api.ListQuotasResponse(quotas=quotas, next_page_token=token)

    async def DeleteQuota(self, request: api.DeleteQuotaRequest, caller: Caller) -> api.DeleteQuotaResponse:
        with Checks() as checks:
            checks.reason(request.reason)
            owner = owner_of(checks, request, caller)
        deleted = await self.kernel.committer.run_on_writer(partial(self.store.delete, owner))
        self.watch_bounds.forget(owner)
        audit.record("quota deleted", request, caller, owner)
        return api.DeleteQuotaResponse(deleted=deleted)

    async def _shown(self, owner: str, caller: Caller) -> api.Quota:
        return await self.kernel.readers.for_owner(reading_owner(caller), self.kernel.quotas.of, owner)
