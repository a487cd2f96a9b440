"""Entries in the order of their positions: added at the end, dropped from the beginning, found by position."""

from bisect import bisect_right
from collections.abc import Sequence

from jobledger_service.core.store.entry import Entry

from .page import MAX_PAGE_ENTRIES


class EntryLog:
    """A list whose dropped beginning is cut off when it is as long as the rest."""

    __slots__ = ("_begin", "_entries")

    def __init__(self) -> None:
        self._entries: list[Entry | None] = []
        self._begin = 0

    def __len__(self) -> int:
        return len(self._entries) - self._begin

    def append(self, entry: Entry) -> None:
        """Add an entry that follows all others."""
        self._entries.append(entry)

    @property
    def oldest(self) -> Entry:
        """The first entry of a log that is not empty."""
        return self._at(self._begin)

    def drop_oldest(self) -> Entry:
        """Remove the first entry, and return it."""
        entry = self._at(self._begin)
        self._entries[self._begin] = None
        self._begin += 1
        if self._begin * 2 >= len(self._entries):
            del self._entries[: self._begin]
            self._begin = 0
        return entry

    def after(self, position: int) -> tuple[Sequence[Entry], bool]:
        """Return the entries after a position, as many as a page has, and whether there are more."""
        first = bisect_right(self._entries, position, lo=self._begin, key=_position)
        found = [self._at(index) for index in range(first, min(first + MAX_PAGE_ENTRIES, len(self._entries)))]
        return found, first + MAX_PAGE_ENTRIES < len(self._entries)

    def _at(self, index: int) -> Entry:
        entry = self._entries[index]
        assert entry is not None  # noqa: S101  for mypy: only those before the beginning are None
        return entry


def _position(entry: Entry | None) -> int:
    return entry.position if entry else 0
