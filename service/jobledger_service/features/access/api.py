"""The methods of AdminService about keys. They need no server: a command also runs them on a database."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api import audit
from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.ledger.paging import PageTokens, fitting, request_mark
from jobledger_service.core.model.access_errors import ApiKeyEnded, ApiKeyNotFound, AuthDisabled
from jobledger_service.core.model.errors import RequestIdReused
from jobledger_service.core.store.clock import Clock
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .rules import ID_BYTES, SECRET_BYTES, ApiKey, NewKey, digest_of, token_of
from .store import ByRequest, Decide, KeyListing, SqlKeyStore

T = TypeVar("T")

METHODS: Final = (
    Method(ADMIN_SERVICE, "CreateApiKey", Role.ADMIN, Kind.WRITE, ("REQUEST_ID_REUSED", "AUTH_DISABLED")),
    Method(ADMIN_SERVICE, "ListApiKeys", Role.ADMIN, Kind.READ, ("PAGE_TOKEN_INVALID", "AUTH_DISABLED")),
    Method(ADMIN_SERVICE, "RevokeApiKey", Role.ADMIN, Kind.WRITE, ("API_KEY_NOT_FOUND", "AUTH_DISABLED")),
    Method(ADMIN_SERVICE, "RotateApiKey", Role.ADMIN, Kind.WRITE,
        ("API_KEY_NOT_FOUND", "API_KEY_ENDED", "AUTH_DISABLED")),
)  # fmt: skip


class NoKeyCalls:
    """The calls about keys of a server that runs without any."""

    def __getattr__(self, name: str) -> Callable[[Any, Caller], Awaitable[Any]]:
        """Return a method that refuses its call."""

        async def refuse(_request: Any, _caller: Caller) -> Any:  # noqa: ANN401  of any method
            raise AuthDisabled

        if name.startswith("read_"):
            raise AttributeError(name)
        return refuse


class StoreRunner(Protocol):
    """Runs work of the store: a write on the writer's thread, a read on a reader's."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return the result of the work."""


@dataclass(frozen=True, slots=True)
class KeyCalls:
    """The calls that list, create and end keys; `on_changed` is awaited after each write."""

    store: SqlKeyStore
    run_write: StoreRunner
    run_read: StoreRunner
    clock: Clock
    random_bytes: Callable[[int], bytes]
    tokens: PageTokens
    on_changed: Callable[[], Awaitable[None]]

    async def CreateApiKey(self, request: api.CreateApiKeyRequest, caller: Caller) -> api.CreateApiKeyResponse:
        now = self.clock()
        key, token = self._make(read.new_key(request, caller, now), now)

        def decide(known: ApiKey | None) -> list[ApiKey]:
            if known is None:
                return [key]
            if not known.is_like(key):
                raise RequestIdReused(request.request_id, known.key_id, "key")
            return [known]

        [made] = await self._write(ByRequest(key.request_key), decide)
        if made is not key:
            return api.CreateApiKeyResponse(api_key=read.api_key(made))
        audit.record("key created", request, caller, key.owner, key_id=key.key_id)
        return api.CreateApiKeyResponse(api_key=read.api_key(key), token=token)

    def _make(self, new: NewKey, now: int) -> tuple[ApiKey, str]:
        """Return a new key and its token, which is returned only now."""
        key_id = self.random_bytes(ID_BYTES).hex()
        token = token_of(key_id, self.random_bytes(SECRET_BYTES))
        key = ApiKey(
            key_id,
            new.owner,
            new.name,
            new.roles,
            digest_of(token),
            now,
            new.expire_time,
            request_key=new.request_key,
            served_owners=new.served_owners,
            all_owners=new.all_owners,
        )
        return key, token

    async def ListApiKeys(self, request: api.ListApiKeysRequest, caller: Caller) -> bytes:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=100, max_size=500)
        owner = read.listed_owner(request.owner)
        mark = request_mark("keys", owner, request.show_ended)
        after = self.tokens.parse(request.page_token, mark, tuple[int, str])
        listing = KeyListing(owner, request.show_ended, self.clock(), after, limit)

        def read_and_show() -> bytes:
            page, last = self.store.list_keys(listing)
            shown = [read.api_key(key) for key in page]
            if (count := fitting(one.ByteSize() for one in shown)) < len(shown):
                last = page[count - 1].create_time, page[count - 1].key_id
            token = "" if last is None else self.tokens.encode(mark, *last)
            return api.ListApiKeysResponse(api_keys=shown[:count], next_page_token=token).SerializeToString()

        return await self.run_read(read_and_show)

    async def RevokeApiKey(self, request: api.RevokeApiKeyRequest, caller: Caller) -> api.RevokeApiKeyResponse:
        key_id = read.key_id(request)

        def decide(key: ApiKey | None) -> list[ApiKey]:
            if key is None:
                raise ApiKeyNotFound(key_id)
            return [replace(key, revoke_time=self.clock()) if key.revoke_time is None else key]

        [key] = await self._write(key_id, decide)
        audit.record("key revoked", request, caller, key.owner, key_id=key.key_id)
        return api.RevokeApiKeyResponse(api_key=read.api_key(key))

    async def RotateApiKey(self, request: api.RotateApiKeyRequest, caller: Caller) -> api.RotateApiKeyResponse:
        """Create a key like another one, which ends after a grace period.

        Without an expire_time the new key lives as long as the old one was to live.
        """
        key_id, grace, expire_time = read.rotation(request, self.clock())
        tokens: list[str] = []

        def decide(old: ApiKey | None) -> list[ApiKey]:
            now = self.clock()
            if old is None:
                raise ApiKeyNotFound(key_id)
            if old.ended(now):
                raise ApiKeyEnded(key_id)
            ends = expire_time
            if ends is None and old.expire_time is not None:
                ends = now + old.expire_time - old.create_time
            like = NewKey(
                old.owner, old.name, old.roles, ends, served_owners=old.served_owners, all_owners=old.all_owners
            )
            new, token = self._make(like, now)
            tokens.append(token)
            last = now + grace if old.expire_time is None else min(now + grace, old.expire_time)
            return [new, replace(old, expire_time=last)]

        new, replaced = await self._write(key_id, decide)
        audit.record("key rotated", request, caller, new.owner, key_id=key_id, to=new.key_id)
        return api.RotateApiKeyResponse(api_key=read.api_key(new), token=tokens[-1], replaced=read.api_key(replaced))

    async def _write(self, which: str | ByRequest, decide: Decide) -> Sequence[ApiKey]:
        written = await self.run_write(lambda: self.store.write(which, decide))
        await self.on_changed()
        return written
