"""Stored history for lagging watchers: each reads its own owner's events, and watchers of one owner share pages."""

import asyncio
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Final
from weakref import WeakValueDictionary

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.refusals.errors import HistoryTrimmed
from jobledger_service.sharing.turns import LoopTurns

MAX_KEPT_BYTES = 16 * 1024 * 1024
PAGE_OVERHEAD = 1_024
"""The weight of a page without its entries, so that empty pages are bounded too."""
MAX_PAGE_ENTRIES = 512
"""The maximum number of entries in a page."""
MAX_PAGE_BYTES = 1024 * 1024
"""The maximum bytes in a page, except its last entry: the memory of a watcher that does not read."""


_after_position: Final = attrgetter("after")


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


Load = Callable[[int, str, str | None, bool], Awaitable[Page]]
"""Reads what follows a position, of an owner or of one of the owner's jobs; bare entries lack their artifacts."""
Readership = tuple[str, bool]
"""The watchers that share pages: those of an owner, of bare entries or of whole ones."""


class Pages:
    """Reads of the stored history. Lagging watchers of one owner read in turn, and reuse each other's pages.

    `loop_turns` is for those who make messages of a page's entries.
    """

    def __init__(self, load: Load) -> None:
        self.loop_turns = LoopTurns()
        self._load = load
        self._kept = _KeptPages()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of_job(self, after: int, job_key: str, *, bare: bool) -> Page:
        """Return a job's entries after a position; raises HistoryTrimmed."""
        return _checked(await self._load(after, owner_of(job_key), job_key, bare))

    async def of_owner(self, after: int, owner: str, *, bare: bool) -> Page:
        """Return an owner's entries after a position, possibly few; raises HistoryTrimmed."""
        readers = (owner, bare)
        page = self._kept.find(readers, after)
        if page is None:
            turn = self._turns.setdefault(owner, asyncio.Lock())
            async with turn:
                page = self._kept.find(readers, after)
                if page is None:
                    kept = self._kept
                    page = _checked(await self._load(after, owner, None, bare))
                    kept.add(readers, page)
        if page.after == after:
            return page
        entries = [entry for entry in page.entries if entry.position > after]
        return Page(entries, after, page.through, page.trimmed, page.complete)

    def forget(self) -> None:
        """Drop all cached pages, also those that are being read: the history was trimmed, or lost its end."""
        self._kept = _KeptPages()


class _KeptPages:
    """The pages read last, by readers and place, bounded in bytes. History never changes, so none is stale."""

    def __init__(self) -> None:
        self._by_readers: dict[Readership, list[Page]] = {}
        self._by_age: OrderedDict[tuple[Readership, int], tuple[Page, int]] = OrderedDict()
        """Pages with their weights."""
        self._bytes = 0

    def find(self, readers: Readership, after: int) -> Page | None:
        """Return a cached page with what follows a position, if there is one."""
        pages = self._by_readers.get(readers, ())
        place = bisect_right(pages, after, key=_after_position) - 1
        return pages[place] if place >= 0 and pages[place].through > after else None

    def add(self, readers: Readership, page: Page) -> None:
        """Cache a page that advances; evict the oldest."""
        if page.through == page.after or (readers, page.after) in self._by_age:
            return
        weight = page.size + PAGE_OVERHEAD
        self._by_age[readers, page.after] = page, weight
        insort(self._by_readers.setdefault(readers, []), page, key=_after_position)
        self._bytes += weight
        while self._bytes > MAX_KEPT_BYTES:
            (oldest_readers, _), (oldest, weight) = self._by_age.popitem(last=False)
            self._bytes -= weight
            pages = self._by_readers[oldest_readers]
            pages.remove(oldest)
            if not pages:
                del self._by_readers[oldest_readers]


def _checked(page: Page) -> Page:
    if page.after < page.trimmed:
        raise HistoryTrimmed(page.trimmed)
    if page.through < page.after or (page.through == page.after and not page.complete):
        raise NoProgressError("a page of history", page.after, page.through)
    return page
