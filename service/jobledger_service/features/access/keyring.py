"""The keys of the database, in memory: one hash and one look-up in a dict authenticate a caller."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.loader import Loader
from jobledger_service.core.store.clock import Clock
from jobledger_service.transport.identity import Caller
from jobledger_service.transport.refusals import ApiKeyUnknown

from .rules import TOKEN, ApiKey, digest_of

REFRESH_SECONDS: Final = 0.4
"""Seconds between two refreshes: every process must know a revocation within one second."""
GATHER_SECONDS: Final = 0.05
"""Seconds for which unknown keys are gathered before a refresh: a flood of them makes 20 reads a second."""


KeyChanges = tuple[Sequence[ApiKey], int]
"""Keys created or changed after a number, and the number of the last of these changes."""


class _CachedKey(MsgStruct):
    """A cached key; `used` is when it was last used, None when not since that was last recorded."""

    key: ApiKey
    caller: Caller
    used: int | None = None


class KeyRing:
    """All keys as of the last refresh.

    Every change of a key has a number, so a refresh reads only new changes. `shared` means that other processes change
    keys too: the ring then refreshes before it refuses an unknown key.
    """

    def __init__(
        self, read: Callable[[int], Awaitable[KeyChanges]], clock: Clock, known: KeyChanges, *, shared: bool
    ) -> None:
        self._read = read
        self._clock = clock
        self._shared = shared
        self._through = self._losses = 0
        self._by_digest: dict[bytes, _CachedKey] = {}
        self._by_id: dict[str, _CachedKey] = {}
        self._loader = Loader(self._fetch)
        self._reading = asyncio.Lock()
        self._apply(known)

    async def caller(self, token: str) -> Caller:
        """Return the caller of this token; raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable."""
        digest = digest_of(token)
        held = self._by_digest.get(digest)
        if held is None and self._shared and TOKEN.fullmatch(token):
            held = await self._loader.load(digest)
        if held is None or not held.key.is_of(digest):
            raise ApiKeyUnknown
        now = self._clock()
        held.key.check(now)
        held.used = now
        return held.caller

    def check(self, key_id: str) -> None:
        """Raise ApiKeyExpired or ApiKeyRevoked when a known key has ended since, ApiKeyUnknown when it was lost."""
        held = self._by_id.get(key_id)
        if held is None:
            raise ApiKeyUnknown
        held.key.check(self._clock())

    async def refresh(self) -> None:
        """Read the changes since the last refresh, of this and other processes; raises StoreUnavailable."""
        async with self._reading:  # an older refresh that ended later would undo a newer one
            losses = self._losses
            changes = await self._read(self._through)
            if losses == self._losses:
                self._apply(changes)

    def begin_anew(self) -> None:
        """Have the next refresh read all keys: the database lost changes, and gives their numbers again."""
        self._losses += 1
        self._through = 0

    async def _fetch(self, _: Sequence[bytes]) -> Callable[[bytes], _CachedKey | None]:
        await asyncio.sleep(GATHER_SECONDS)
        await self.refresh()
        return self._by_digest.get

    def _apply(self, changes: KeyChanges) -> None:
        keys, through = changes
        if not self._through:
            self._by_id, self._by_digest = {}, {}
        for key in keys:
            held = self._by_id.get(key.key_id)
            if held is None:
                self._by_id[key.key_id] = self._by_digest[key.digest] = _CachedKey(key, key.caller)
            else:
                held.key = key
        self._through = max(self._through, through)

    def pop_used(self) -> dict[str, int]:
        """Return when keys were last used, by key_id, for those used since the last call."""
        used = {key_id: held.used for key_id, held in self._by_id.items() if held.used is not None}
        for key_id in used:
            self._by_id[key_id].used = None
        return used
