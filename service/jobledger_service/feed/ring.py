"""The newest entries, in memory, bounded in number and bytes."""

from collections import deque
from collections.abc import Iterable
from itertools import islice

from jobledger_service.ledger.entry import Entry

from .page import Page, some_of


class Ring:
    """All entries from `floor` (exclusive) to `head` (inclusive), gapless; also by job."""

    def __init__(self, head: int, *, most_entries: int = 20_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self.floor = head
        self.head = head
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: deque[Entry] = deque()
        self._by_job: dict[str, deque[Entry]] = {}

    def append(self, entry: Entry) -> None:
        """Add the entry that follows the head."""
        self._entries.append(entry)
        self._by_job.setdefault(entry.job_key, deque()).append(entry)
        self._bytes += entry.size
        self.head = entry.position
        while len(self._entries) > self._most_entries or self._bytes > self._most_bytes:
            self._drop_oldest()

    def forget(self, through: int) -> None:
        """Drop the entries up to a position: history that is trimmed is trimmed here too."""
        while self._entries and self._entries[0].position <= through:
            self._drop_oldest()

    def covers(self, position: int) -> bool:
        """Whether everything after a position is here."""
        return position >= self.floor

    def after(self, position: int, job_key: str | None) -> Page:
        """Return entries after a position that it covers, of one job or of all."""
        if job_key is None:
            found: Iterable[Entry] = islice(self._entries, max(position - self.floor, 0), None)
        else:
            found = (entry for entry in self._by_job.get(job_key, ()) if entry.position > position)
        entries, complete = some_of(found)
        return Page(entries, max(self.head, position) if complete else entries[-1].position, trimmed=0)

    def _drop_oldest(self) -> None:
        entry = self._entries.popleft()
        self.floor = entry.position
        self._bytes -= entry.size
        mine = self._by_job[entry.job_key]
        mine.popleft()
        if not mine:
            del self._by_job[entry.job_key]
