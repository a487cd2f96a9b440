"""The methods of AdminService about keys. They need no server: a command also runs them on a database."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from jobledger.v1 import admin_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import audit
from jobledger_service.core.api.checks import Checks, check_key_id, shown
from jobledger_service.core.api.convert import maker
from jobledger_service.core.api.job_requests import request_id as check_request_id
from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.owners import owner_or_all, reading_owner
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.database.clock import Clock
from jobledger_service.core.model.bounds.limits import DAY, MAX_OWNERS
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.access_errors import ApiKeyEnded, ApiKeyNotFound, AuthDisabled
from jobledger_service.core.model.refusals.errors import RequestIdReused
from jobledger_service.core.read.paging import PageTokens, fitting, request_mark
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method
from jobledger_service.transport.refusals import RoleMissing

from .rules import ID_BYTES, SECRET_BYTES, ApiKey, digest_of, token_of
from .store import Decide, SqlKeyStore

DEFAULT_ROTATION_GRACE: Final = DAY
MAX_GRACE: Final = 30 * DAY
MAX_KEYS: Final = 1_000
"""Keys of an owner, ended ones included, until which its own admin may make more."""
ROLES: Final = {api.Role.Value(f"ROLE_{role}"): role for role in Role}

_api_key = maker(ApiKey, api.ApiKey)

METHODS: Final = (
    Method(ADMIN_SERVICE, "CreateApiKey", Role.OWNER_ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "ListApiKeys", Role.OWNER_ADMIN, Kind.READ),
    Method(ADMIN_SERVICE, "RevokeApiKey", Role.OWNER_ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "RotateApiKey", Role.OWNER_ADMIN, Kind.WRITE),
)


def new_key(request: api.CreateApiKeyRequest, caller: Caller, now: Micros) -> ApiKey:
    """Return the key of CreateApiKey, without an id and a token."""
    by_operator = caller.may(Role.ADMIN)
    with Checks() as checks:
        checks.at_most("name", request.name, 128, min_length=1)
        if not request.name.isprintable():
            checks.fault("name", f"value {shown(request.name)} must have only characters that can be printed")
        if "/" in request.name:
            checks.fault(
                "name", f"value {shown(request.name)} must not contain /, which the audit trail sets before the key_id"
            )
        if request.owner not in ("", caller.owner):
            if not by_operator:
                raise RoleMissing.of_others("CreateApiKey", "owner", caller.owner)
            checks.owner("owner", request.owner)
        checks.count("roles", len(request.roles), len(ROLES), min_count=1)
        roles = frozenset(checks.numbers("roles", request.roles, ROLES))
        expire_time = _expire_time(checks, request, now)
        check_request_id(checks, request.request_id)
        checks.reason(request.reason)
        _check_served(checks, request)
    separator = "/" if by_operator else ":"  # which no owner contains: operators' ids are apart
    key = ApiKey(
        "",
        request.owner or caller.owner,
        request.name,
        roles,
        b"",
        now,
        expire_time,
        request_key=f"{caller.owner}{separator}{request.request_id}" if request.request_id else None,
        served_owners=tuple(sorted(set(request.served_owners))),
        all_owners=request.all_owners,
    )
    if not by_operator and not key.within_its_owner:
        raise RoleMissing.of_rights("CreateApiKey")
    return key


def _check_served(checks: Checks, request: api.CreateApiKeyRequest) -> None:
    checks.count("served_owners", len(request.served_owners), MAX_OWNERS)
    for index, owner in enumerate(request.served_owners):
        checks.owner(f"served_owners[{index}]", owner)
    if request.served_owners and request.all_owners:
        checks.fault("all_owners", "must be false with served_owners")
    if (request.served_owners or request.all_owners) and set(request.roles) != {api.ROLE_WORKER}:
        checks.fault("roles", "must be WORKER alone for a key that serves other owners")


def rotation(request: api.RotateApiKeyRequest, now: Micros) -> tuple[str, int, Micros | None]:
    """Return the key_id of RotateApiKey, its grace period in microseconds, and the expiry of the new key."""
    with Checks() as checks:
        check_key_id(checks, request.key_id)
        grace = checks.span(request, "grace_period", 0, MAX_GRACE, absent=DEFAULT_ROTATION_GRACE)
        expire_time = _expire_time(checks, request, now)
        checks.reason(request.reason)
    return request.key_id, grace, expire_time


def _expire_time(checks: Checks, request: Any, now: Micros) -> Micros | None:  # noqa: ANN401  create and rotate
    if not request.HasField("expire_time"):
        return None
    time = checks.time("expire_time", request.expire_time)
    if time <= now:
        checks.fault("expire_time", f"value {time_text(time)} must be in the future")
    return time


def api_key(key: ApiKey) -> api.ApiKey:
    """Return a key as a message, without its token or digest."""
    message = _api_key(key)
    message.roles.sort()
    return message


def _managed(key: ApiKey | None, key_id: str, caller: Caller, method: str) -> ApiKey:
    """Return a key that the caller may end or replace; raises ApiKeyNotFound, and RoleMissing if it has more rights."""
    by_operator = caller.may(Role.ADMIN)
    if key is None or not (by_operator or key.owner == caller.owner):
        raise ApiKeyNotFound(key_id)
    if not (by_operator or key.within_its_owner):
        raise RoleMissing.of_rights(method)
    return key


class NoKeyCalls:
    """The calls about keys of a server that runs without any."""

    def __getattr__(self, name: str) -> Callable[[Any, Caller], Awaitable[Any]]:
        """Return a method that refuses its call."""

        async def refuse(_request: Any, _caller: Caller) -> Any:  # noqa: ANN401  of any method
            raise AuthDisabled

        return refuse


class KeyCalls(MsgStruct, frozen=True):
    """The calls that list, create and end keys; `on_changed` is awaited after each write."""

    store: SqlKeyStore
    run_write: Callable[[Callable[[], Sequence[ApiKey]]], Awaitable[Sequence[ApiKey]]]
    run_read: Callable[[str, Callable[[], bytes]], Awaitable[bytes]]
    clock: Clock
    random_bytes: Callable[[int], bytes]
    tokens: PageTokens
    on_changed: Callable[[], Awaitable[None]]

    async def CreateApiKey(self, request: api.CreateApiKeyRequest, caller: Caller) -> api.CreateApiKeyResponse:
        now = self.clock()
        key, token = self._issue(new_key(request, caller, now), now)

        def decide(known: ApiKey | None) -> list[ApiKey]:
            if known is None:
                return [key]
            if not known.is_like(key):
                raise RequestIdReused(request.request_id, known.key_id, "key")
            return [known]

        [made] = await self._write(decide, caller, request_key=key.request_key)
        if made is not key:
            return api.CreateApiKeyResponse(api_key=api_key(made))
        audit.record("key created", request, caller, key.owner, key_id=key.key_id)
        return api.CreateApiKeyResponse(api_key=api_key(key), token=token)

    def _issue(self, like: ApiKey, now: Micros) -> tuple[ApiKey, str]:
        """Return a key like another one with an id and a token of its own; the token is returned only now."""
        key_id = self.random_bytes(ID_BYTES).hex()
        token = token_of(key_id, self.random_bytes(SECRET_BYTES))
        return replace(like, key_id=key_id, digest=digest_of(token), create_time=now), token

    async def ListApiKeys(self, request: api.ListApiKeysRequest, caller: Caller) -> bytes:
        limit, owner = checked_page_size(request.page_size, max_size=500), owner_or_all(request, caller)
        mark = request_mark("keys", owner, request.show_ended)
        after = await self.tokens.parse(request.page_token, mark, tuple[int, str])

        def read_and_show() -> bytes:
            now, show_ended = self.clock(), request.show_ended
            page, last = self.store.list_keys(owner, now, after, limit, show_ended=show_ended)
            shown = [api_key(key) for key in page]
            if (count := fitting(message.ByteSize() for message in shown)) < len(shown):
                last = page[count - 1].create_time, page[count - 1].key_id
            token = "" if last is None else self.tokens.encode(mark, *last)
            return api.ListApiKeysResponse(api_keys=shown[:count], next_page_token=token).SerializeToString()

        return await self.run_read(reading_owner(caller), read_and_show)

    async def RevokeApiKey(self, request: api.RevokeApiKeyRequest, caller: Caller) -> api.RevokeApiKeyResponse:
        key_id = request.key_id
        with Checks() as checks:
            check_key_id(checks, key_id)
            checks.reason(request.reason)

        def decide(key: ApiKey | None) -> list[ApiKey]:
            key = _managed(key, key_id, caller, "RevokeApiKey")
            return [replace(key, revoke_time=self.clock()) if key.revoke_time is None else key]

        [key] = await self._write(decide, caller, key_id)
        audit.record("key revoked", request, caller, key.owner, key_id=key.key_id)
        return api.RevokeApiKeyResponse(api_key=api_key(key))

    async def RotateApiKey(self, request: api.RotateApiKeyRequest, caller: Caller) -> api.RotateApiKeyResponse:
        """Create a key like another one, which ends after a grace period.

        Without an expire_time the new key lives as long as the old one was to live.
        """
        key_id, grace, expire_time = rotation(request, self.clock())
        tokens: list[str] = []

        def decide(old: ApiKey | None) -> list[ApiKey]:
            now = self.clock()
            old = _managed(old, key_id, caller, "RotateApiKey")
            if old.ended(now):
                raise ApiKeyEnded(key_id)
            ends = expire_time
            if ends is None and old.expire_time is not None:
                ends = Micros(now + old.expire_time - old.create_time)
            new, token = self._issue(replace(old, expire_time=ends, last_used_time=None, request_key=None), now)
            tokens.append(token)
            last = Micros(now + grace) if old.expire_time is None else min(Micros(now + grace), old.expire_time)
            return [new, replace(old, expire_time=last)]

        new, replaced = await self._write(decide, caller, key_id)
        audit.record("key rotated", request, caller, new.owner, key_id=key_id, to=new.key_id)
        return api.RotateApiKeyResponse(api_key=api_key(new), token=tokens[-1], replaced=api_key(replaced))

    async def _write(
        self, decide: Decide, caller: Caller, key_id: str = "", request_key: str | None = None
    ) -> Sequence[ApiKey]:
        max_keys = None if caller.may(Role.ADMIN) else MAX_KEYS
        written = await self.run_write(lambda: self.store.write(decide, key_id, request_key, max_keys=max_keys))
        await self.on_changed()
        return written
