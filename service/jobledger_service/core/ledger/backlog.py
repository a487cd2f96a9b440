"""How many jobs of an owner wait, kept below what the operator allows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from jobledger_service.core.model.limit_errors import TooManyQueuedJobs

from .loader import Loader

FRESH: Final = 1.0
"""Seconds for which a count is good, with what was let in since: others may pass the cap by that much."""
MOMENT: Final = 0.1
"""The same for a count by which jobs are refused."""


class _Count(Struct):
    queued: int
    at: float


class Backlog:
    """Lets jobs in while their owner has fewer than `most` in QUEUED; `count` counts so far and no farther."""

    def __init__(self, count: Callable[[Sequence[str]], Awaitable[Mapping[str, int]]], most: int) -> None:
        self._count = count
        self._most = most
        self._counts: dict[str, _Count] = {}
        self._let_in: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._loader = Loader(self._fetch)

    @asynccontextmanager
    async def room(self, owner: str) -> AsyncIterator[None]:
        """Let one more job in, which the block creates; raises TooManyQueuedJobs."""
        known = self._counts.get(owner)
        age = asyncio.get_running_loop().time() - known.at if known else FRESH
        if known is None or age >= (FRESH if known.queued < self._most else MOMENT):
            known = await self._loader.load(owner)
        if known.queued >= self._most:
            raise TooManyQueuedJobs(owner, self._most)
        known.queued += 1
        self._let_in[owner] += 1
        try:
            yield
        finally:
            self._done[owner] += 1

    async def _fetch(self, owners: Sequence[str]) -> Callable[[str], _Count]:
        now, done = asyncio.get_running_loop().time(), {owner: self._done[owner] for owner in owners}
        counted = await self._count(owners)
        for owner in owners:
            # What was let in and not done when the count began may be in it or not: none is to be missed.
            uncertain = self._let_in[owner] - done[owner]
            self._counts[owner] = _Count(counted[owner] + uncertain, now)
        return self._counts.__getitem__
