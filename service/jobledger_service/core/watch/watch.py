"""The watch: the current state, or what followed a cursor, and then every change, each once and in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import closing, suppress
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.codec import Codec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import job_id_of, job_key, owner_of
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.refusals.errors import (
    Draining,
    HistoryLost,
    HistoryTrimmed,
    JobNotFound,
    JobUnreadable,
)
from jobledger_service.core.model.states import ENDED
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.read.reading import ReadStore

from .live_feed import LiveFeed
from .selection import ALL_CHANGES, ChangeFilter, Selection
from .snapshots import FIRST, Place, Snapshots
from .subscription import BookmarkTimer, FeedSubscription, Live, Writer

MAX_STOPPED_JOBS: Final = 1_000
"""The maximum of jobs that one message to a worker names."""

Messages = AsyncGenerator[Sequence[bytes] | Callable[[Writer], Awaitable[None]]]
"""Finished messages, as many as are in memory for the stream; and functions that write what is committed while this
task sleeps, to a writer of the stream."""


class Mode(StrEnum):
    """The mode of a watcher that lags."""

    LATEST = "LATEST"
    EVERY = "EVERY"


class WatchOptions(MsgStruct, frozen=True):
    """How a watch delivers: its mode, whether in view STATUS, which changes, from when on, and in batches or not."""

    mode: Mode = Mode.LATEST
    status: bool = False
    changes: ChangeFilter = ALL_CHANGES
    from_now: bool = False
    batches: bool = False


class _JobStart(NamedTuple):
    """The start of a watch of one job: its position, and the snapshot unless the watch has a cursor."""

    exists: bool
    ended: bool
    position: int
    snapshot: bytes = b""


class Watch:
    """Opens watches. Each is an iterator of finished messages, which ends as the contract says.

    There are thousands, and so one that waits refers to nothing that it has read or yielded.

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
        # its pages are encoded on other threads, where newer terms than those of the feed may be known
        self._snapshots = Snapshots(store, Cursors(store.epoch.id, lambda: store.history.terms), codec)
        self.bookmark_every = bookmark_every
        self._on_merged = on_merged

    async def job(self, owner: str, job_id: str, cursor: bytes, options: WatchOptions, uid: str = "") -> Messages:
        """Watch one job until it ends: the one with `uid`, if that is not empty.

        Raises JobNotFound, HistoryTrimmed, HistoryLost, ForeignCursor, Draining.
        """
        key = job_key(owner, job_id)
        resumed = self._cursors.parse(cursor) if cursor else None
        after = None if resumed is None else resumed.position
        view = View.FULL if after is None and not options.status else View.BASIC
        show = partial(self._begin, with_snapshot=after is None, status=options.status, uid=uid)
        losses = self._feed.losses
        start = await self._queries.show_job(key, show, view, for_watch=True)
        self._feed.check_unbroken(losses)
        if resumed is not None:
            self._cursors.check(resumed, start.position)
        if after is None:
            if not start.exists:
                raise JobNotFound(job_id, uid)
            yield [start.snapshot]
            if start.ended:
                return
            start = start._replace(snapshot=b"")
        begin = start.position
        if after is not None:
            begin = await self._begin_within(key, uid, after) if uid else after
        selection = Selection(options.changes, None, begins_complete=after is None)
        with closing(
            self._feed.subscribe(begin, job_key=key, bare=options.status, selection=selection)
        ) as subscription:
            if after is not None:
                entries = await self._missed(subscription, start.position)
                if not entries and not start.exists:
                    raise JobNotFound(job_id, uid)
                is_last = _is_last(entries[-1]) if entries else start.ended
                yield self._messages(entries, options) or [self._bookmark(subscription)]
                if is_last:
                    return
                del entries
            async for messages in self._follow_job(subscription, options):
                yield messages

    def _begin(
        self, read: JobRead | None, position: int, *, with_snapshot: bool, status: bool, uid: str
    ) -> "_JobStart":
        if read is None or (uid and uid != self._codec.uid(read)):
            return _JobStart(exists=False, ended=False, position=position)
        cursor = self._cursors.encode(position)
        snapshot = self._codec.snapshot(read, cursor, status=status) if with_snapshot else b""
        return _JobStart(exists=True, ended=read.state in ENDED, position=position, snapshot=snapshot)

    async def _begin_within(self, key: str, uid: str, after: int) -> int:
        """Return where the next events of the job with a uid begin, not those of others that had its key before.

        Raises JobNotFound after its deletion.
        """
        trail = await self._readers.for_watch(owner_of(key), self._store.trail, key, uid)
        if trail is None or trail.end <= after:
            raise JobNotFound(job_id_of(key), uid)
        return max(after, trail.begin)

    async def _missed(self, subscription: FeedSubscription, through: int) -> Sequence[Entry]:
        """Return the first entries after a cursor, none when none follow up to the position `through`."""
        while subscription.position < through:
            if entries := await subscription.next(self.bookmark_every):
                return _until_last(entries)
        return []

    async def _follow_job(self, subscription: FeedSubscription, options: WatchOptions) -> Messages:
        timer = BookmarkTimer(self.bookmark_every)
        write_live = partial(self._write_live, subscription, timer, partial(self._job_message, options), options)
        while True:
            yield write_live
            try:
                entries = _until_last(await subscription.next(timer.seconds_left()))
            except Draining:
                yield [self._bookmark(subscription)]
                raise
            is_last = bool(entries) and _is_last(entries[-1])
            messages = self._messages(entries, options)
            del entries
            if not messages and timer.due():
                messages = [self._bookmark(subscription)]
            if messages:
                yield messages
                timer.restart()
            del messages
            if is_last:
                return

    async def _write_live(
        self,
        subscription: FeedSubscription,
        timer: BookmarkTimer,
        make: Callable[[Entry], bytes | None],
        options: WatchOptions,
        writer: Writer,
    ) -> None:
        merges = options.mode is Mode.LATEST
        await subscription.write_live(Live(writer, timer, make, kind=options.status, merges=merges))

    def _job_message(self, options: WatchOptions, entry: Entry) -> bytes | None:
        """Return the message of one job's entry, None for one with which the watch ends."""
        if not entry.is_readable or _is_last(entry):
            return None
        return self._codec.message(entry, status=options.status)

    def _messages(self, entries: Sequence[Entry], options: WatchOptions) -> list[bytes]:
        """Return the messages of one job's entries; raises JobUnreadable."""
        _check_readable(entries)
        if options.mode is Mode.EVERY or len(entries) <= 1:
            return [self._codec.message(entry, status=options.status) for entry in entries]
        self._on_merged(len(entries) - 1)
        cursor = self._cursors.encode(entries[-1].position)
        return [self._codec.merge(entries[-1], entries[:-1], cursor, status=options.status)]

    async def jobs(self, jobs: JobFilter, cursor: bytes, options: WatchOptions) -> Messages:
        """Watch all jobs that match; raises HistoryTrimmed, HistoryLost, ForeignCursor, Draining."""
        resumed, place = self._snapshots.parse(cursor, jobs) if cursor else (None, None if options.from_now else FIRST)
        # entries of others up to now precede the first bookmark, also at a replica that lags
        begin = owed_from = await self._end(jobs.owner)
        if resumed is not None:
            self._cursors.check(resumed, owed_from)
            begin = resumed.position
        selection = Selection(options.changes, jobs, begins_complete=not (cursor or options.from_now))
        subscribed = self._feed.subscribe(begin, jobs=jobs, bare=options.status, selection=selection)
        with closing(subscribed) as subscription:
            if options.from_now:
                yield [self._bookmark(subscription)]
            while place is not None:
                read = partial(self._snapshots.read, status=options.status)
                page = await self._readers.for_watch(jobs.owner, read, jobs, place)
                subscription.check_kept()
                while subscription.position < page.position:
                    yield self._matching(jobs, await subscription.next_through(page.position), options, place)
                yield self._batched(page.messages, options)
                place, owed_from = page.next, page.position
                del page
            async for messages in self._follow_jobs(jobs, subscription, options, owed_from):
                yield messages

    async def _follow_jobs(
        self, jobs: JobFilter, subscription: FeedSubscription, options: WatchOptions, owed_from: int
    ) -> Messages:
        """Yield the changes, and bookmarks: the first one at or after the position `owed_from`."""
        timer, owed = BookmarkTimer(self.bookmark_every), not options.from_now
        write_live = partial(self._write_live, subscription, timer, partial(self._jobs_message, jobs, options), options)
        while True:
            if not owed:
                yield write_live
            try:
                at_once = owed and subscription.position >= owed_from
                entries = await subscription.next(0 if at_once else timer.seconds_left())
            except Draining:
                yield [self._bookmark(subscription)]
                raise
            messages = self._matching(jobs, entries, options)
            del entries
            if messages:
                yield messages
                timer.restart()
            del messages
            reached = subscription.position >= owed_from
            if (owed and reached) or timer.due():  # bookmarks report a long catch-up too
                yield [self._bookmark(subscription)]
                timer.restart()
                owed = owed and not reached

    def _jobs_message(self, jobs: JobFilter, options: WatchOptions, entry: Entry) -> bytes | None:
        """Return the message of an entry, None for one with which the watch ends."""
        return self._message_of(jobs, entry, [entry], options, None) if entry.is_readable else None

    def _matching(
        self, jobs: JobFilter, entries: Sequence[Entry], options: WatchOptions, place: Place | None = None
    ) -> Sequence[bytes]:
        """Return the messages of many jobs' entries, in the order of their positions; raises JobUnreadable.

        During the snapshots those of jobs after `place` are left out: a page will show them.
        """
        _check_readable(entries)
        shown = [entry for entry in entries if place is None or place.covers(entry)]
        if options.mode is Mode.EVERY:
            return self._batched([self._message_of(jobs, entry, [entry], options, place) for entry in shown], options)
        groups: dict[str, list[Entry]] = {}
        for entry in shown:
            group = groups.pop(entry.job_key, [])
            group.append(entry)
            groups[entry.job_key] = group  # at the end: a merged message stands where its last entry does
        return self._batched([self._message_of(jobs, of[-1], of, options, place) for of in groups.values()], options)

    def _batched(self, messages: Sequence[bytes], options: WatchOptions) -> Sequence[bytes]:
        return list(self._codec.batch(messages)) if options.batches else messages

    def _message_of(
        self, jobs: JobFilter, entry: Entry, group: list[Entry], options: WatchOptions, place: Place | None
    ) -> bytes:
        message = self._codec.message(entry, status=options.status)
        if len(group) > 1 or place is not None:
            cursor = b"" if place is None else self._snapshots.cursor(jobs, entry.position, place)
            message = self._codec.merge(entry, group[:-1], cursor, status=options.status)
            self._on_merged(len(group) - 1)
        if entry.after is not None and not jobs.matches(entry.after):
            message = self._codec.as_unmatched(message)
        return message

    async def stops(self, owners: Sequence[str], kinds: frozenset[str]) -> Messages:
        """Name the jobs of these owners and kinds, of all kinds when empty, whose leases a worker must check.

        It begins with all leases, since what happened before is not reported, and repeats that whenever it lags. An
        empty message shows that it is alive. Raises Draining.
        """
        jobs = JobFilter(ALL_OWNERS, kinds=kinds, include_service_jobs=True, all_owners=True)
        while True:
            subscribed = self._feed.subscribe(self._feed.position, jobs=jobs, owners=owners, stops_only=True)
            with closing(subscribed) as subscription, suppress(HistoryLost, HistoryTrimmed):
                yield [self._codec.stopped_jobs((), check_all=True)]
                try:
                    while True:
                        yield [self._stop_message(await subscription.next(self.bookmark_every))]
                except Draining:
                    if entries := subscription.drain():
                        yield [self._stop_message(entries)]
                    raise

    def _stop_message(self, entries: Sequence[Entry]) -> bytes:
        job_ids = {job_id_of(entry.job_key): None for entry in entries}
        if len(job_ids) > MAX_STOPPED_JOBS or not all(entry.is_readable for entry in entries):
            return self._codec.stopped_jobs((), check_all=True)
        return self._codec.stopped_jobs(job_ids, check_all=False)

    async def _end(self, owner: str) -> int:
        """Return the newest position, read once for all watches of an owner that open together."""
        losses = self._feed.losses
        position = await self._readers.for_equal_watches(owner, "position", self._store.position)
        self._feed.check_unbroken(losses)
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
