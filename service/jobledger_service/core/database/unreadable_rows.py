"""Rows that cannot be read or shown: skipped, so that one of them stops no iteration over many."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from jobledger_service.core.model.chunk import ChunkKey

log = structlog.get_logger(__name__)

Stored = TypeVar("Stored")
Value = TypeVar("Value")
Key = TypeVar("Key", str, tuple[str, int])

MAX_REMEMBERED: Final = 10_000
"""The number of remembered rows at which they are all forgotten."""
AGAIN_AFTER_SECONDS: Final = 60.0
"""The time after which a duty tries a row again."""

MAX_SET_ASIDE: Final = 1_000
"""The number of rows at which all are forgotten."""


class UnreadableRows:
    """Counts each time that a row is set aside, and logs it the first time. Any thread may call it.

    `counted` is called with the place where the row was met: a list, an export, a duty.
    """

    def __init__(self, counted: Callable[[str], None] = lambda _: None) -> None:
        self._counted = counted
        self._met: dict[tuple[str, str], float] = {}

    def add(self, place: str, row: str, error: Exception) -> None:
        """Count a row, with its name for the log, and the reason."""
        self._counted(place)
        if len(self._met) >= MAX_REMEMBERED:
            self._met.clear()
        is_new = (place, row) not in self._met
        self._met[place, row] = time.monotonic()
        if is_new:
            log.error("a row cannot be read and is set aside", place=place, row=row, exc_info=error)

    def read(self, place: str, read: Callable[[Stored], Value], row: Stored, key: Key, bad: set[Key]) -> Value | None:
        """Return what a row holds; for an unreadable one, add its key to the bad ones and return None."""
        try:
            return read(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one row is wrong with it alone
            self.add(place, str(key), error)
            bad.add(key)
            return None

    def is_recent(self, place: str, row: str) -> bool:
        """Whether a row was set aside within the last minute."""
        met = self._met.get((place, row))
        return met is not None and time.monotonic() < met + AGAIN_AFTER_SECONDS


class SetAside:
    """Remembers rows for a minute; then they are tried again, as they may have been repaired."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, key: str | ChunkKey) -> None:
        """Set a job aside with all of its chunks, or one chunk."""
        if len(self._until) >= MAX_SET_ASIDE:
            self._until.clear()
        self._until[key if isinstance(key, str) else place_of(*key)] = time.monotonic() + AGAIN_AFTER_SECONDS

    def names(self) -> list[str]:
        """Return the keys of the jobs, and the places of the chunks, that are set aside now."""
        if self._until:
            now = time.monotonic()
            self._until = {name: until for name, until in self._until.items() if now < until}
        return list(self._until)


def place_of(job_key: str, index: int) -> str:
    """Return the name of a chunk; no job's key has a `#`."""
    return f"{job_key}#{index}"
