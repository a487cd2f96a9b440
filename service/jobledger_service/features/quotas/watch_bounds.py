"""How many watches an owner may have open at this process: remembered for a second, so that a watch costs no read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from jobledger_service.core.ledger.loader import Loader
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.store.quotas import Quota

VALID_SECONDS: Final = 1.0
"""Seconds for which a bound is valid: for so long another replica may keep an old one."""
MAX_OWNERS: Final = 10_000
"""Owners whose bounds are remembered."""


class WatchBounds:
    """The bounds of owners; while the database is away the last known ones hold, or the default."""

    def __init__(self, find: Callable[[Sequence[str]], Awaitable[Mapping[str, Quota]]], default: int | None) -> None:
        self._find = find
        self._default = default
        self._known: dict[str, tuple[int | None, float]] = {}
        self._loader = Loader(self._load)

    async def __call__(self, owner: str) -> int | None:
        """Return how many watches an owner may have open; None for any number."""
        bound, until = self._known.get(owner, (self._default, 0.0))
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
        found = await self._find(owners)
        bounds = {owner: found[owner].bounds.max_watches if owner in found else None for owner in owners}
        if len(self._known) > MAX_OWNERS:
            self._known.clear()
        for owner, bound in bounds.items():
            self._known[owner] = (self._default if bound is None else bound, until)
        return lambda owner: self._known[owner][0]
