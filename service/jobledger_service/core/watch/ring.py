"""The newest entries in memory, bounded in number and bytes; the owner with the most loses its oldest first.

It shares by itself: nobody waits for room here, and what is held is dropped.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from msgspec.structs import replace

from jobledger_service.core.database.rows.entry import ArtifactsKey, Entry
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.owners import ALL_OWNERS

from .pages import MAX_PAGE_ENTRIES, Page, count_of_page

MAX_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 20_000
SHRINK_TO_SHARE = 15 / 16
"""The part that remains after evictions, so that owners are not compared for each entry."""

_position = attrgetter("position")


class EntryLog:
    """Entries by position. The beginning that was dropped is cut off when it is as long as the rest."""

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
        entries = [self._at(index) for index in range(first, min(first + MAX_PAGE_ENTRIES, len(self._entries)))]
        return entries, first + MAX_PAGE_ENTRIES < len(self._entries)

    def _at(self, index: int) -> Entry:
        entry = self._entries[index]
        assert entry is not None  # noqa: S101  for mypy: only those before the beginning are None
        return entry


class SharedArtifacts:
    """The artifacts in memory by version, and how many entries refer to each."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[ArtifactsKey, tuple[bytes, int]] = {}

    def hold(self, entry: Entry) -> tuple[Entry, int]:
        """Return an entry with the artifacts that are in memory already, and the bytes that it adds."""
        if not entry.artifacts:
            return entry, 0
        added, common = 0, {}
        for key, raw in entry.artifacts.items():
            kept, count = self._held.get(key, (raw, 0))
            self._held[key] = kept, count + 1
            common[key] = kept
            added += 0 if count else len(raw)
        known = {id(raw): common[key] for key, raw in entry.artifacts.items()}
        parts, chunks = ([known.get(id(raw), raw) for raw in segments] for segments in (entry.parts, entry.chunks))
        return replace(entry, artifacts=common, parts=parts, chunks=chunks), added

    def release(self, entry: Entry) -> int:
        """Return the bytes that go with an entry."""
        freed = 0
        for key in entry.artifacts:
            raw, count = self._held.pop(key)
            if count > 1:
                self._held[key] = raw, count - 1
            else:
                freed += len(raw)
        return freed


class _OwnerEntries:
    """One owner's entries after `floor`; they weigh `weight`."""

    __slots__ = ("floor", "log", "weight")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.log = EntryLog()
        self.weight = 0


class Ring:
    """The entries up to `head`: of each owner those after a floor of its owned, gapless; also by job.

    An entry weighs its bytes, and at least `max_bytes / max_entries`, so that one bound holds both. Artifacts that an
    owner's entries have in common weigh once.
    """

    def __init__(self, head: int, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.head = head
        self._floor = head
        self._max_weight = max_bytes
        self._min_weight = -(-max_bytes // max_entries)
        self._weight = 0
        self._by_owner: dict[str, _OwnerEntries] = {}
        self._by_job: dict[str, EntryLog] = {}
        self._artifacts = SharedArtifacts()

    def append(self, entry: Entry) -> Entry:
        """Add the entry that follows the head; return it, with the artifacts that earlier entries have in common."""
        owner = owner_of(entry.job_key)
        owned = self._by_owner.get(owner)
        if owned is None:
            owned = self._by_owner[owner] = _OwnerEntries(self._floor)
        entry, shared = self._artifacts.hold(entry)
        owned.log.append(entry)
        self._by_job.setdefault(entry.job_key, EntryLog()).append(entry)
        weight = self._weight_of(entry) + shared
        owned.weight += weight
        self._weight += weight
        self.head = entry.position
        if self._weight > self._max_weight:
            self._shrink()
        return entry

    def advance_to(self, position: int) -> None:
        """Move the head past a position that has no entry here."""
        self.head = max(self.head, position)

    def reset_to(self, head: int) -> None:
        """Drop everything, and start again after a position."""
        self._by_owner.clear()
        self._by_job.clear()
        self._artifacts = SharedArtifacts()
        self._weight = 0
        self.head = self._floor = head

    def forget(self, through: int) -> None:
        """Drop the entries up to a position, which the history no longer has."""
        for owner, owned in list(self._by_owner.items()):
            while len(owned.log) and owned.log.oldest.position <= through:
                self._drop_oldest(owned)
            self._remove_if_empty(owner, owned)

    def covers(self, owner: str, position: int) -> bool:
        """Whether everything of an owner, or of ALL_OWNERS, after a position is in memory."""
        if owner == ALL_OWNERS:
            return position >= max(self._floor, *(owned.floor for owned in self._by_owner.values()), 0)
        owned = self._by_owner.get(owner)
        return position >= (self._floor if owned is None else owned.floor)

    def after(self, position: int, owner: str, job_key: str | None) -> Page:
        """Return entries after a covered position, of one job, of one owner or of ALL_OWNERS."""
        log: EntryLog | None
        if job_key is None and owner == ALL_OWNERS:
            return self._page(position, *self._of_all(position))
        if job_key is None:
            owned = self._by_owner.get(owner)
            log = None if owned is None else owned.log
        else:
            log = self._by_job.get(job_key)
        return self._page(position, *(log.after(position) if log else ([], False)))

    def _of_all(self, position: int) -> tuple[Sequence[Entry], bool]:
        """Return the entries of all owners after a position, as many as a page has, and whether there are more."""
        pages = [owned.log.after(position) for owned in self._by_owner.values()]
        merged = sorted((entry for entries, _ in pages for entry in entries), key=_position)
        more = len(merged) > MAX_PAGE_ENTRIES or any(more for _, more in pages)
        return merged[:MAX_PAGE_ENTRIES], more

    def _page(self, position: int, following: Sequence[Entry], more: bool) -> Page:  # noqa: FBT001  as a log returns it
        count = count_of_page(following)
        complete = count == len(following) and not more
        entries = following[:count]
        through = max(self.head, position) if complete else entries[-1].position
        return Page(entries, position, through, 0, complete)

    def _weight_of(self, entry: Entry) -> int:
        return max(entry.own_size, self._min_weight)

    def _shrink(self) -> None:
        """Drop the oldest entries of the owners with the most."""
        enough = int(self._max_weight * SHRINK_TO_SHARE)
        while self._weight > enough:
            owner, owned = max(self._by_owner.items(), key=lambda item: item[1].weight)
            half = owned.weight // 2
            while self._weight > enough and owned.weight > half:
                self._drop_oldest(owned)
            self._remove_if_empty(owner, owned)

    def _drop_oldest(self, owned: _OwnerEntries) -> None:
        entry = owned.log.drop_oldest()
        owned.floor = entry.position
        weight = self._weight_of(entry) + self._artifacts.release(entry)
        owned.weight -= weight
        self._weight -= weight
        of_job = self._by_job[entry.job_key]
        of_job.drop_oldest()
        if not len(of_job):
            del self._by_job[entry.job_key]

    def _remove_if_empty(self, owner: str, owned: _OwnerEntries) -> None:
        """Remove an owner without entries; the common floor of such owners rises to where its entries ended."""
        if not len(owned.log):
            del self._by_owner[owner]
            self._floor = max(self._floor, owned.floor)
