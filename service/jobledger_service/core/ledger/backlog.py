"""The number of waiting jobs of an owner, limited by the operator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.limit_errors import TooManyQueuedJobs

from .loader import Loader

COUNT_SECONDS: Final = 1.0
"""Seconds for which a count is valid, with the jobs admitted since: other servers may exceed the limit by that much."""
FULL_COUNT_SECONDS: Final = 0.1
"""Seconds for which a count is valid when jobs are refused by it."""


class _Count(MsgStruct):
    queued: int
    at: float


class Backlog:
    """Admits jobs while their owner has fewer than `limit` in QUEUED; `count` counts up to a number."""

    def __init__(self, count: Callable[[Sequence[str]], Awaitable[Mapping[str, int]]], limit: int) -> None:
        self._count = count
        self.limit = limit
        self._counts: dict[str, _Count] = {}
        self._admitted: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._loader = Loader(self._fetch)

    @asynccontextmanager
    async def admit(self, owner: str, count: int, *, validate_only: bool) -> AsyncIterator[int]:
        """Admit up to `count` more jobs, which the block creates, and yield how many; raises TooManyQueuedJobs.

        With `validate_only` the block creates none.
        """
        known = await self._current(owner)
        admitted = min(count, self.limit - known.queued)
        created = 0 if validate_only else admitted
        known.queued += created
        self._admitted[owner] += created
        try:
            yield admitted
        finally:
            self._done[owner] += created

    async def _current(self, owner: str) -> _Count:
        """Return a valid count that is below the limit; raises TooManyQueuedJobs."""
        known = self._counts.get(owner)
        age = asyncio.get_running_loop().time() - known.at if known else COUNT_SECONDS
        if known is None or age >= (COUNT_SECONDS if known.queued < self.limit else FULL_COUNT_SECONDS):
            known = await self._loader.load(owner)
        if known.queued >= self.limit:
            raise TooManyQueuedJobs(owner, self.limit)
        return known

    async def _fetch(self, owners: Sequence[str]) -> Callable[[str], _Count]:
        now, done = asyncio.get_running_loop().time(), {owner: self._done[owner] for owner in owners}
        counted = await self._count(owners)
        for owner in owners:
            # a count may miss or include what was admitted and not done when it began: include it
            uncertain = self._admitted[owner] - done[owner]
            self._counts[owner] = _Count(counted[owner] + uncertain, now)
        return self._counts.__getitem__
