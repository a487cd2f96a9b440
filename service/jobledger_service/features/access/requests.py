"""Requests of AdminService as values of the ledger, and its keys as messages."""

from typing import Any, Final

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api import convert
from jobledger_service.core.api.checks import Checks, check_key_id, shown
from jobledger_service.core.api.job_requests import request_id as check_request_id
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.limits import DAY, MAX_OWNERS
from jobledger_service.transport.identity import Caller, Role

from .rules import ApiKey, NewKey

DEFAULT_ROTATION_GRACE: Final = DAY
MAX_GRACE: Final = 30 * DAY
ROLES: Final = {api.Role.Value(f"ROLE_{role}"): role for role in Role}
_NUMBERS: Final = {role: number for number, role in ROLES.items()}


def new_key(request: api.CreateApiKeyRequest, caller: Caller, now: int) -> NewKey:
    """Return the new key of CreateApiKey."""
    with Checks() as checks:
        checks.at_most("name", request.name, 128, min_length=1)
        if not request.name.isprintable():
            checks.fault("name", f"value {shown(request.name)} must have only characters that can be printed")
        if "/" in request.name:
            checks.fault(
                "name", f"value {shown(request.name)} must not contain /, which the audit trail sets before the key_id"
            )
        if request.owner:
            checks.owner("owner", request.owner)
        checks.count("roles", len(request.roles), len(ROLES), min_count=1)
        roles = frozenset(checks.numbers("roles", request.roles, ROLES))
        expire_time = _expire_time(checks, request, now)
        check_request_id(checks, request.request_id)
        checks.reason(request.reason)
        _check_served(checks, request)
    request_key = f"{caller.owner}/{request.request_id}" if request.request_id else None
    served = tuple(sorted(set(request.served_owners)))
    return NewKey(
        request.owner or caller.owner, request.name, roles, expire_time, request_key, served, request.all_owners
    )


def _check_served(checks: Checks, request: api.CreateApiKeyRequest) -> None:
    checks.count("served_owners", len(request.served_owners), MAX_OWNERS)
    for index, owner in enumerate(request.served_owners):
        checks.owner(f"served_owners[{index}]", owner)
    if request.served_owners and request.all_owners:
        checks.fault("all_owners", "must be false with served_owners")
    if (request.served_owners or request.all_owners) and set(request.roles) != {api.ROLE_WORKER}:
        checks.fault("roles", "must be WORKER alone for a key that serves other owners")


def listed_owner(given: str) -> str:
    """Return the owner of a list; empty for all."""
    with Checks() as checks:
        if given:
            checks.owner("owner", given)
    return given


def key_id(request: api.RevokeApiKeyRequest) -> str:
    """Return the key_id of a request."""
    with Checks() as checks:
        check_key_id(checks, request.key_id)
        checks.reason(request.reason)
    return str(request.key_id)


def rotation(request: api.RotateApiKeyRequest, now: int) -> tuple[str, int, int | None]:
    """Return the key_id of RotateApiKey, its grace period in microseconds, and the expiry of the new key."""
    with Checks() as checks:
        check_key_id(checks, request.key_id)
        grace = DEFAULT_ROTATION_GRACE
        if request.HasField("grace_period"):
            grace = checks.micros("grace_period", request.grace_period, 0, MAX_GRACE)
        expire_time = _expire_time(checks, request, now)
        checks.reason(request.reason)
    return request.key_id, grace, expire_time


def _expire_time(checks: Checks, request: Any, now: int) -> int | None:  # noqa: ANN401  create and rotate
    if not request.HasField("expire_time"):
        return None
    time = checks.time("expire_time", request.expire_time)
    if time <= now:
        checks.fault("expire_time", f"value {time_text(time)} must be in the future")
    return time


def api_key(key: ApiKey) -> api.ApiKey:
    """Return a key as a message, without its token or digest."""
    times = {name: getattr(key, name) for name in ("create_time", "expire_time", "revoke_time", "last_used_time")}
    return api.ApiKey(
        key_id=key.key_id,
        owner=key.owner,
        name=key.name,
        roles=sorted(_NUMBERS[role] for role in key.roles),
        served_owners=key.served_owners,
        all_owners=key.all_owners,
        **{name: convert.timestamp(time) for name, time in times.items() if time is not None},
    )
