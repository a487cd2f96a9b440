"""Creating, listing, revoking and rotating API keys."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.paging import PageTokens, request_mark
from jobledger_service.core.ledger.ports import Clock, StoreRunner
from jobledger_service.core.model.access_errors import ApiKeyEnded, ApiKeyNotFound
from jobledger_service.core.model.limits import DAY
from jobledger_service.transport.identity import Role

from .rules import ID_BYTES, SECRET_BYTES, ApiKey, digest_of, token_of
from .store import Decide, KeyListing, Place, SqlKeyStore

DEFAULT_ROTATION_GRACE: Final = DAY


class CreatedKey(MsgStruct, frozen=True):
    """A new key, its token, which is returned only now, and the key that it replaces, if any."""

    key: ApiKey
    token: str
    replaced: ApiKey | None = None


class NewKey(MsgStruct, frozen=True):
    """The fields of a new key."""

    owner: str
    name: str
    roles: frozenset[Role]
    expire_time: int | None = None


class KeyPage(MsgStruct, frozen=True):
    """A page of keys."""

    keys: Sequence[ApiKey]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The calls about keys; `random_bytes` returns random bytes, `on_changed` is awaited after each write."""

    store: SqlKeyStore
    run_write: StoreRunner
    run_read: StoreRunner
    clock: Clock
    random_bytes: Callable[[int], bytes]
    on_changed: Callable[[], Awaitable[None]]
    tokens: PageTokens

    async def create(self, new: NewKey) -> CreatedKey:
        """Create a key."""
        made = self._make(new, self.clock())
        await self._write("", lambda _: [made.key])
        return made

    def _make(self, new: NewKey, now: int) -> CreatedKey:
        key_id = self.random_bytes(ID_BYTES).hex()
        token = token_of(key_id, self.random_bytes(SECRET_BYTES))
        return CreatedKey(ApiKey(key_id, new.owner, new.name, new.roles, digest_of(token), now, new.expire_time), token)

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key; a revoked one stays unchanged. Raises ApiKeyNotFound."""

        def decide(key: ApiKey | None) -> list[ApiKey]:
            if key is None:
                raise ApiKeyNotFound(key_id)
            return [replace(key, revoke_time=self.clock()) if key.revoke_time is None else key]

        [revoked] = await self._write(key_id, decide)
        return revoked

    async def rotate(self, key_id: str, grace: int, expire_time: int | None) -> CreatedKey:
        """Create a key like another one, which ends after `grace` microseconds; raises ApiKeyNotFound, ApiKeyEnded.

        Without an expire_time the new key lives as long as the old one was to live.
        """
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
            made = self._make(NewKey(old.owner, old.name, old.roles, ends), now)
            tokens.append(made.token)
            last = now + grace if old.expire_time is None else min(now + grace, old.expire_time)
            return [made.key, replace(old, expire_time=last)]

        new, replaced = await self._write(key_id, decide)
        return CreatedKey(new, tokens[-1], replaced)

    async def _write(self, key_id: str, decide: Decide) -> Sequence[ApiKey]:
        written = await self.run_write(lambda: self.store.write(key_id, decide))
        await self.on_changed()
        return written

    async def page(self, owner: str, limit: int, page_token: str, *, ended: bool) -> KeyPage:
        """Return a page of keys, oldest first; raises PageTokenInvalid."""
        mark = request_mark("keys", owner, ended)
        after = cast("Place | None", self.tokens.parse(page_token, mark, int, str))
        listing = KeyListing(owner, ended, self.clock(), after, limit)
        found, last = await self.run_read(lambda: self.store.list_keys(listing))
        return KeyPage(found, "" if last is None else self.tokens.encode(mark, *last))
