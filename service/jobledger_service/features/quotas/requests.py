"""Requests about quotas as values."""

from typing import Final

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.owners import owner_of
from jobledger_service.core.model.quotas import Bounds
from jobledger_service.core.store.quotas import Quota
from jobledger_service.transport.identity import Caller

MAX_JOBS: Final = 10**12
MAX_WATCHES: Final = 1_000_000
_LARGEST: Final = {"max_unfinished_jobs": MAX_JOBS, "max_stored_jobs": MAX_JOBS, "max_watches": MAX_WATCHES}


def new_quota(request: api.SetQuotaRequest, caller: Caller, now: int) -> Quota:
    """Return the quota that is to be set at the time `now`, in microseconds."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        for name, largest in _LARGEST.items():
            checks.within(name, getattr(request, name), 0, largest)
        checks.reason(request.reason)
    given = {field.name: value for field, value in request.ListFields()}
    bounds = Bounds(*map(given.get, Bounds.__struct_fields__))
    return Quota(owner, bounds, request.reason, caller.name, now)


def deletion(request: api.DeleteQuotaRequest, caller: Caller) -> str:
    """Return the owner whose quota is to be removed."""
    with Checks() as checks:
        checks.reason(request.reason)
        return owner_of(checks, request, caller)
