"""Stored history for those who lag: positions are gapless, so that pages of it have fixed places and can be shared."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from jobledger_service.domain.errors import HistoryTrimmed
from jobledger_service.ledger.entry import Entry
from jobledger_service.ledger.read_ports import EventsRead

from .page import PAGE, Page

KEPT_BYTES = 16 * 1024 * 1024


Read = Callable[[int, int, str | None], Awaitable[EventsRead]]


class Pages:
    """Reads of the stored history; laggards that read the same place read it once."""

    def __init__(self, read: Read, decode: Callable[[EventsRead], Sequence[Entry]]) -> None:
        self._read = read
        self._decode = decode
        self._bytes = 0
        self._kept: OrderedDict[int, Page] = OrderedDict()
        self._reading: dict[int, asyncio.Task[Page]] = {}

    async def of_job(self, after: int, job_key: str) -> Page:
        """Return a job's entries after a position; raises HistoryTrimmed."""
        return _checked(await self._load(after, job_key, PAGE), after)

    async def of_all(self, after: int) -> Page:
        """Return entries after a position, up to the end of the page that it lies in; raises HistoryTrimmed."""
        start = after - after % PAGE
        page = self._kept.get(start)
        if page is None or page.through <= after:
            page = await self._shared(start if page is None else after, start)
        _checked(page, after)
        return Page([entry for entry in page.entries if entry.position > after], page.through, page.trimmed)

    async def _shared(self, after: int, start: int) -> Page:
        """Read a page once for all who want it now; only whole ones are kept."""
        reading = self._reading.get(after)
        if reading is None:
            reading = asyncio.create_task(self._load(after, None, start + PAGE - after), name="feed page")
            self._reading[after] = reading
            reading.add_done_callback(lambda _: self._reading.pop(after, None))
        page = await asyncio.shield(reading)
        if after == start and page.through == start + PAGE and start not in self._kept:
            self._keep(start, page)
        return page

    async def _load(self, after: int, job_key: str | None, limit: int) -> Page:
        read = await self._read(after, limit, job_key)
        return Page(self._decode(read), read.through, read.trimmed)

    def _keep(self, start: int, page: Page) -> None:
        self._kept[start] = page
        self._bytes += page.size
        while self._bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size

    def forget(self) -> None:
        """Drop what is kept: the history was trimmed."""
        self._kept.clear()
        self._bytes = 0


def _checked(page: Page, after: int) -> Page:
    if after < page.trimmed:
        raise HistoryTrimmed(page.trimmed)
    return page
