"""The keys of the database, in memory: one hash and one look-up in a dict authenticate a caller."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.clock import Clock
from jobledger_service.core.read.loader import Loader
from jobledger_service.transport.identity import Caller
from jobledger_service.transport.refusals import ApiKeyUnknown, InFlightFull

from .rules import TOKEN, ApiKey, digest_of

REFRESH_SECONDS: Final = 0.4
"""Seconds between two refreshes: every process must know a revocation within one second."""
GATHER_SECONDS: Final = 0.05
"""Seconds for which unknown keys are gathered before a refresh: a flood of them makes 20 reads a second."""


MAX_UNKNOWN: Final = 1_000
"""Calls with unknown keys that may wait for a refresh: anyone may send them, even while the database is silent."""

KeyChanges = Sequence[tuple[int, ApiKey]]
"""Keys by the number of their last change, in its order."""


class _CachedKey(MsgStruct):
    """A cached key; `used` is when it was last used, None when it was not used since the last record."""

    key: ApiKey
    caller: Caller
    used: int | None = None


class KeyRing:
    """All keys as of the last refresh.

    Every change of a key has a number, so a refresh reads only new changes, and the last known one: a database that
    lacks it has lost changes in a fail-over and gives their numbers again, so the ring then reads all keys. `shared`
    means that other processes change keys too: the ring then refreshes before it refuses an unknown key.
    """

    def __init__(
        self, read: Callable[[int], Awaitable[KeyChanges]], clock: Clock, known: KeyChanges, *, shared: bool
    ) -> None:
        self._read = read
        self._clock = clock
        self._shared = shared
        self._newest: tuple[int, ApiKey] | None = None
        self._unknown = 0
        self._by_digest: dict[bytes, _CachedKey] = {}
        self._by_id: dict[str, _CachedKey] = {}
        self._loader = Loader(self._fetch)
        self._reading = asyncio.Lock()
        self._apply(known)

    async def caller(self, token: str) -> Caller:
        """Return the caller of this token.

        Raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable; InFlightFull when too many unknown wait.
        """
        digest = digest_of(token)
        held = self._by_digest.get(digest)
        if held is None and self._shared and TOKEN.fullmatch(token):
            held = await self._look_up(digest)
        if held is None or not held.key.is_of(digest):
            raise ApiKeyUnknown
        now = self._clock()
        held.key.check(now)
        held.used = now
        return held.caller

    async def _look_up(self, digest: bytes) -> _CachedKey | None:
        """Return a new key, None when the refresh finds none."""
        if self._unknown >= MAX_UNKNOWN:
            raise InFlightFull("public_calls")
        self._unknown += 1
        try:
            return await self._loader.load(digest)
        finally:
            self._unknown -= 1

    def check(self, key_id: str) -> None:
        """Raise ApiKeyExpired or ApiKeyRevoked when a known key has ended since, ApiKeyUnknown when it was lost."""
        held = self._by_id.get(key_id)
        if held is None:
            raise ApiKeyUnknown
        held.key.check(self._clock())

    async def refresh(self) -> None:
        """Read the changes since the last refresh, of this and other processes; raises StoreUnavailable."""
        async with self._reading:  # an older refresh that ended later would undo a newer one
            newest = self._newest
            changes = await self._read(newest[0] if newest else 0)
            if newest and not (changes and _is_same(changes[0], newest)):
                self._replace(await self._read(0))
            else:
                self._apply(changes)

    async def _fetch(self, _: Sequence[bytes]) -> Callable[[bytes], _CachedKey | None]:
        await asyncio.sleep(GATHER_SECONDS)
        await self.refresh()
        return self._by_digest.get

    def _replace(self, every: KeyChanges) -> None:
        """Replace all keys."""
        known = {key.key_id for _, key in every}
        self._by_id = {key_id: held for key_id, held in self._by_id.items() if key_id in known}
        self._by_digest = {held.key.digest: held for held in self._by_id.values()}
        self._newest = None
        self._apply(every)

    def _apply(self, changes: KeyChanges) -> None:
        for _, key in changes:
            held = self._by_id.get(key.key_id)
            if held is None:
                self._by_id[key.key_id] = self._by_digest[key.digest] = _CachedKey(key, key.caller)
            else:
                held.key = key
        self._newest = changes[-1] if changes else self._newest

    def pop_used(self) -> dict[str, int]:
        """Return when keys were last used, by key_id, for those used since the last call."""
        used = {key_id: held.used for key_id, held in self._by_id.items() if held.used is not None}
        for key_id in used:
            self._by_id[key_id].used = None
        return used


def _is_same(change: tuple[int, ApiKey], other: tuple[int, ApiKey]) -> bool:
    """Whether two changes are equal, except for the time of last use."""
    (number, key), (other_number, other_key) = change, other
    return number == other_number and replace(key, last_used_time=other_key.last_used_time) == other_key
