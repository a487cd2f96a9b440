"""A page of the ledger: as much as a watcher takes at once."""

from collections.abc import Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.store.entry import Entry

MAX_PAGE_ENTRIES = 512
"""The maximum number of entries in a page."""
MAX_PAGE_BYTES = 1024 * 1024
"""The maximum bytes in a page, except its last entry: the memory of a watcher that does not read."""


class NoProgressError(Exception):
    """A reader of the ledger would stop or go back: a defect, which must not become an endless loop."""

    def __init__(self, reader: str, position: int, through: int) -> None:
        super().__init__(f"{reader} is at position {position}, and a read took it to {through}")


class Page(MsgStruct, frozen=True):
    """Entries after the position `after`, read up to `through`; all up to `trimmed` is deleted.

    `complete` means that nothing followed at the time of the read.
    """

    entries: Sequence[Entry]
    after: int
    through: int
    trimmed: int
    complete: bool

    @property
    def size(self) -> int:
        """The bytes of the entries."""
        return sum(entry.size for entry in self.entries)


def count_of_page(entries: Sequence[Entry]) -> int:
    """Return how many of the entries make a page: all, or up to the first one past a bound, at least one."""
    size = 0
    for count, entry in enumerate(entries[:MAX_PAGE_ENTRIES]):
        if size >= MAX_PAGE_BYTES:
            return count
        size += entry.size
    return min(len(entries), MAX_PAGE_ENTRIES)
