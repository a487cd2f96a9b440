"""Recently unreadable rows of jobs and chunks: claims skip them, so that they delay nothing."""

import time
from collections.abc import Callable
from typing import Final

from jobledger_service.core.model.chunk import ChunkKey

from .unreadable_rows import AGAIN_AFTER_SECONDS

MAX_SET_ASIDE: Final = 1_000
"""The number of rows at which all are forgotten."""


class SetAside:
    """Remembers rows for a minute; then they are tried again, as they may have been repaired."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def add(self, key: str | ChunkKey) -> None:
        """Set a job aside with all of its chunks, or one chunk."""
        if len(self._until) >= MAX_SET_ASIDE:
            self._until.clear()
        self._until[key if isinstance(key, str) else place_of(*key)] = self._monotonic() + AGAIN_AFTER_SECONDS

    def names(self) -> list[str]:
        """Return the keys of the jobs, and the places of the chunks, that are set aside now."""
        if self._until:
            now = self._monotonic()
            self._until = {name: until for name, until in self._until.items() if now < until}
        return list(self._until)


def place_of(job_key: str, index: int) -> str:
    """Return the name of a chunk; no job's key has a `#`."""
    return f"{job_key}#{index}"
