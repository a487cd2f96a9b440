"""A stretch of the ledger, as much as a watcher takes at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobledger_service.ledger.entry import Entry

PAGE = 512
"""Entries at once."""
PAGE_BYTES = 1024 * 1024
"""Bytes at once, but for the entry that goes past them: what a watcher that does not read keeps in memory."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries after a position; everything up to `through` has been looked at, nothing up to `trimmed` is left."""

    entries: Sequence[Entry]
    through: int
    trimmed: int

    @property
    def size(self) -> int:
        """How many bytes the entries hold."""
        return sum(entry.size for entry in self.entries)


def some_of(entries: Iterable[Entry]) -> tuple[list[Entry], bool]:
    """Return the first entries, as many as are taken at once, and whether they are all."""
    taken: list[Entry] = []
    size = 0
    for entry in entries:
        if len(taken) == PAGE or size >= PAGE_BYTES:
            return taken, False
        taken.append(entry)
        size += entry.size
    return taken, True
