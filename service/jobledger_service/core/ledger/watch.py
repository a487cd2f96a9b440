"""The watch: the current state, or what followed a cursor, and then every change, each once and in order."""

import asyncio
import bisect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.errors import CursorAhead, Draining, JobNotFound, JobUnreadable
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.job import job_id_of, job_key
from jobledger_service.core.model.states import ENDED
from jobledger_service.core.store.entry import Entry
from jobledger_service.core.store.reading import ReadStore
from jobledger_service.core.store.reads import JobRead, Listed, Listing, PageKey, View

from .codec import Codec
from .cursor import Cursors
from .feed.live_feed import LiveFeed
from .feed.subscription import FeedSubscription
from .queries import Queries
from .readers import Readers

SNAPSHOT_PAGE_SIZE = 500


class Mode(StrEnum):
    """The mode of a watcher that lags."""

    LATEST = "LATEST"
    EVERY = "EVERY"


class _JobFound(NamedTuple):
    """The start of a watch of one job: its position, and the snapshot if it is wanted."""

    exists: bool
    ended: bool
    position: int
    snapshot: bytes = b""


class Watch:
    """Opens watches. Each is an iterator of finished messages, which ends as the contract says.

    `on_merged` is called with the number of events that were merged into later messages.
    """

    def __init__(
        self,
        store: ReadStore,
        queries: Queries,
        readers: Readers,
        cursors: Cursors,
        feed: LiveFeed,
        codec: Codec,
        bookmark_every: float,
        on_merged: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._queries = queries
        self._readers = readers
        self._cursors = cursors
        self._feed = feed
        self._codec = codec
        self._bookmark_every = bookmark_every
        self._on_merged = on_merged

    async def job(self, owner: str, job_id: str, cursor: bytes, mode: Mode) -> AsyncGenerator[bytes]:
        """Watch one job until it ends; raises JobNotFound, HistoryTrimmed, CursorAhead, ForeignCursor, Draining."""
        key = job_key(owner, job_id)
        after = await self._position(owner, cursor) if cursor else None
        view = View.FULL if after is None else View.BASIC
        begin = partial(self._begin, with_snapshot=after is None)
        found = await self._queries.show_job(key, begin, view, for_watch=True)
        if after is None:
            if not found.exists:
                raise JobNotFound(job_id)
            yield found.snapshot
            if found.ended:
                return
        with closing(self._feed.subscribe(found.position if after is None else after, job_key=key)) as subscription:
            if after is not None:
                entries = await self._missed(subscription, found.position)
                if not entries and not found.exists:
                    raise JobNotFound(job_id)
                for message in self._messages(entries, mode) or [self._bookmark(subscription)]:
                    yield message
                if _is_last(entries[-1]) if entries else found.ended:
                    return
            async for message in self._follow_job(subscription, mode):
                yield message

    def _begin(self, read: JobRead | None, position: int, *, with_snapshot: bool) -> "_JobFound":
        if read is None:
            return _JobFound(exists=False, ended=False, position=position)
        snapshot = self._codec.snapshot(read, self._cursors.encode(position)) if with_snapshot else b""
        return _JobFound(exists=True, ended=read.state in ENDED, position=position, snapshot=snapshot)

    async def _missed(self, subscription: FeedSubscription, through: int) -> Sequence[Entry]:
        """Return the first entries after a cursor, none when none follow up to the position `through`."""
        while subscription.position < through:
            if entries := await subscription.next(self._bookmark_every):
                return _until_last(entries)
        return []

    async def _follow_job(self, subscription: FeedSubscription, mode: Mode) -> AsyncGenerator[bytes]:
        timer = _BookmarkTimer(self._bookmark_every)
        while True:
            try:
                entries = _until_last(await subscription.next(timer.left()))
            except Draining:
                yield self._bookmark(subscription)
                raise
            for message in self._messages(entries, mode):
                yield message
            if entries and _is_last(entries[-1]):
                return
            if entries:
                timer.restart()
            elif timer.due():
                yield self._bookmark(subscription)
                timer.restart()

    def _messages(self, entries: Sequence[Entry], mode: Mode) -> list[bytes]:
        """Return the messages of one job's entries; raises JobUnreadable."""
        _check_readable(entries)
        if mode is Mode.EVERY or len(entries) <= 1:
            return [entry.message for entry in entries]
        self._on_merged(len(entries) - 1)
        return [self._codec.merge(entries[-1], entries[:-1], self._cursors.encode(entries[-1].position))]

    async def jobs(self, jobs: JobFilter, cursor: bytes, mode: Mode) -> AsyncGenerator[bytes]:
        """Watch all jobs that match; raises HistoryTrimmed, CursorAhead, ForeignCursor, Draining."""
        seen = _Seen()
        if cursor:
            after = await self._position(jobs.owner, cursor)
            # entries of others up to now precede the first bookmark, also at a replica that lags
            owed_from = await self._readers.for_watch(jobs.owner, self._store.position)
        else:
            async for message in self._snapshots(jobs, seen):
                yield message
            after, owed_from = seen.first, seen.last
        with closing(self._feed.subscribe(after, jobs=jobs)) as subscription:
            timer, owed = _BookmarkTimer(self._bookmark_every), True
            while True:
                try:
                    at_once = owed and subscription.position >= owed_from
                    entries = await subscription.next(0 if at_once else timer.left())
                except Draining:
                    if seen.passed(subscription.position):
                        yield self._bookmark(subscription)
                    raise
                for message in self._matching(jobs, entries, mode, seen):
                    yield message
                    timer.restart()
                reached = subscription.position >= owed_from
                # bookmarks report a long catch-up too, once cursors are allowed
                if (owed and reached) or (timer.due() and seen.passed(subscription.position)):
                    yield self._bookmark(subscription)
                    timer.restart()
                    owed = owed and not reached

    async def _snapshots(self, jobs: JobFilter, seen: "_Seen") -> AsyncGenerator[bytes]:
        """Yield all jobs that match now, newest first, without cursors; a watch resumes from the next bookmark."""
        after: PageKey | None = None
        while True:
            listing = Listing(jobs, limit=SNAPSHOT_PAGE_SIZE, after=after)
            messages, page = await self._readers.for_watch(jobs.owner, self._snapshot_page, listing)
            seen.add(page.next, page.position)
            for message in messages:
                yield message
            if page.next is None:
                return
            after = page.next

    def _snapshot_page(self, listing: Listing) -> tuple[list[bytes], Listed]:
        """Return the messages of a page, the last of which names the jobs that cannot be shown; runs on a reader."""
        page = self._store.list_jobs(listing)
        messages, unreadable = [], [job_id_of(key) for key in page.unreadable]
        for read in page.jobs:
            try:
                messages.append(self._codec.snapshot(read, b""))
            except JobUnreadable:
                unreadable.append(read.job_id)
        if unreadable:
            messages.append(self._codec.unreadable_jobs(unreadable))
        return messages, page

    def _matching(self, jobs: JobFilter, entries: Sequence[Entry], mode: Mode, seen: "_Seen") -> list[bytes]:
        """Return the messages of many jobs' entries, in the order of their positions; raises JobUnreadable."""
        _check_readable(entries)
        groups: dict[str, list[Entry]] = {}
        order: list[tuple[str, Entry]] = []
        for entry in entries:
            if seen.shown(entry):
                continue
            if mode is Mode.LATEST and (group := groups.get(entry.job_key)):
                order.remove((entry.job_key, group[-1]))
            groups.setdefault(entry.job_key, []).append(entry)
            order.append((entry.job_key, entry))
        return [self._one(jobs, entry, groups[key] if mode is Mode.LATEST else [entry], seen) for key, entry in order]

    def _one(self, jobs: JobFilter, entry: Entry, group: list[Entry], seen: "_Seen") -> bytes:
        cursor = self._cursors.encode(entry.position) if seen.passed(entry.position) else b""
        message = entry.message
        if len(group) > 1 or not cursor:
            message = self._codec.merge(entry, group[:-1], cursor)
            self._on_merged(len(group) - 1)
        if entry.after is not None and not jobs.matches(entry.after):
            message = self._codec.left(message)
        return message

    async def _position(self, owner: str, cursor: bytes) -> int:
        """Return the position of a cursor, which this ledger has reached."""
        position = self._cursors.parse(cursor)
        if position > self._feed.position:
            end = await self._readers.for_watch(owner, self._store.position)
            if position > end:
                raise CursorAhead(position, end)
        return position

    def _bookmark(self, subscription: FeedSubscription) -> bytes:
        return self._codec.bookmark(self._cursors.encode(subscription.position))


def _check_readable(entries: Sequence[Entry]) -> None:
    """Raise JobUnreadable for a stored event that cannot be read, so that the watch does not skip it silently."""
    for entry in entries:
        if not entry.is_readable:
            raise JobUnreadable(job_id_of(entry.job_key))


def _is_last(entry: Entry) -> bool:
    """Whether a watch of the job ends with this entry."""
    return entry.ended or entry.after is None


def _until_last(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries up to the first that ends the watch."""
    for index, entry in enumerate(entries):
        if _is_last(entry):
            return entries[: index + 1]
    return entries


class _Seen(MsgStruct):
    """The pages of the snapshot so far, each as of a later position than the one before.

    An entry of a job is left out when the page with the job already shows it. `places` are the last jobs of the pages,
    rising, so that the latest page's comes first.
    """

    places: list[tuple[int, str]] = []
    positions: list[int] = []

    def add(self, last: PageKey | None, position: int) -> None:
        """Record a page and its last job; None on the last page."""
        self.positions.append(position)
        if last is not None:
            self.places.insert(0, (last.create_time, last.job_key))

    @property
    def first(self) -> int:
        """The position of the first page: changes are followed from here."""
        return self.positions[0]

    @property
    def last(self) -> int:
        """The position of the last page: all that the pages show is at or before it."""
        return self.positions[-1]

    def passed(self, position: int) -> bool:
        """Whether everything that the pages show is at or before `position`: cursors are allowed from here on."""
        return not self.positions or position >= self.positions[-1]

    def shown(self, entry: Entry) -> bool:
        """Whether the snapshot already shows the job as it is after this entry."""
        if not self.positions or entry.position > self.positions[-1]:
            return False
        facts = entry.after or entry.before
        if facts is None:
            return False
        place = (facts.create_time, entry.job_key)
        page = len(self.places) - bisect.bisect_right(self.places, place)
        return entry.position <= self.positions[page]


class _BookmarkTimer:
    """The time of a quiet stream's next bookmark."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._last_sent = self._loop.time()

    def left(self) -> float:
        """Seconds until the next bookmark is due."""
        return max(self._last_sent + self._every - self._loop.time(), 0.0)

    def due(self) -> bool:
        """Whether a bookmark is due now."""
        return self.left() <= 0

    def restart(self) -> None:
        """Record that a message was sent."""
        self._last_sent = self._loop.time()
