"""The reading side: the current state, and the history."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.rows.reads import (
    AttemptPlace,
    AttemptsRead,
    AttemptsWanted,
    ChunksRead,
    EventRow,
    JobRead,
    JobsRead,
    Known,
    Listed,
    Listing,
    PageKey,
    View,
    nothing_known,
)
from jobledger_service.core.model.job import job_id_of, job_key, owner_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import JobNotFound, JobUnreadable
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.read.loader import Loader, NotReadError
from jobledger_service.core.read.readers import OPERATORS, Readers

from .event_pages import EventPageRead, EventsWanted
from .job_reads import SMALL
from .paging import PageTokens, fitting, request_mark
from .reading import ReadStore

P = ParamSpec("P")
R = TypeVar("R")
JobReadT = TypeVar("JobReadT", JobRead, JobRead | None)
ShowJob = Callable[[JobRead | None, int], R]
"""Makes a reply from a job, None when it does not exist, and its position."""

KeepEvent = Callable[[EventRow], bool]
"""Whether an event is on a page."""
MAX_ASKED: Final = 1_000
"""Events that are read and decoded for one page."""
COUNT_TO: Final = 1_000
"""The maximum of counts that cannot be exact."""


class JobPage(MsgStruct, frozen=True):
    """A page of jobs; `total` counts all that match, up to the maximum."""

    read: Listed
    jobs: Sequence[JobRead]
    next_page_token: str
    total: int
    total_is_lower_bound: bool
    cursor: bytes


class ChunkPage(MsgStruct, frozen=True):
    """A page of chunks."""

    read: ChunksRead
    next_page_token: str


class AttemptPage(MsgStruct, frozen=True):
    """A page of attempts."""

    read: AttemptsRead
    next_page_token: str


class EventPage(MsgStruct, frozen=True):
    """A page of a job's history, as stored messages."""

    rows: Sequence[EventRow]
    next_page_token: str


class _ListPlace(NamedTuple):
    """Where a page of jobs begins, and what the first one counted, at its position; `more` is 0 for an exact count."""

    value: int
    create_time: Micros
    job_key: str
    total: int
    more: int
    position: int


class _SmallJob(NamedTuple):
    """A small job as it was read, None if it is not small, does not exist, or cannot be read; and the position.

    `shown` holds the results of `show`, by `call_key`.
    """

    read: JobRead | None
    position: int
    unreadable: bool
    shown: dict[Hashable, Any]


class Queries:
    """The reads of jobs, on the threads of `readers`.

    Small single jobs of all callers are read together, and wait for no owner. A `show` function runs on the thread of
    the read, unless it shows only a small job: so the event loop builds no large reply.
    """

    def __init__(self, store: ReadStore, readers: Readers) -> None:
        self._store = store
        self._readers = readers
        self.tokens = self._tokens = PageTokens(store.epoch, store.history, self._look)
        self._cursors = Cursors(store.epoch.id, lambda: store.history.terms)
        self._small_jobs = {view: Loader(partial(self._fetch_small_jobs, view), owner_of=owner_of) for view in View}

    async def _look(self) -> None:
        await self._readers.for_equal_calls(OPERATORS, "position", self._store.position)

    async def _fetch_small_jobs(self, view: View, keys: Sequence[str]) -> Callable[[str], _SmallJob]:
        read = await self._readers.for_single_jobs(self._store.read_jobs, keys, view, SMALL)
        unread = set(read.unread)

        def small_job(key: str) -> _SmallJob:
            if key in unread:
                raise NotReadError
            return _SmallJob(read.jobs.get(key), read.position, key in read.unreadable, {})

        return small_job

    async def show_job(
        self, key: str, show: ShowJob[R], view: View, *, for_watch: bool = False, call_key: Hashable = None
    ) -> R:
        """Return `show` of a job, as it is after every acknowledged write; raises JobUnreadable.

        Small jobs are read with those of other calls, and shown once for calls with one `call_key`. Others are read in
        their owner's turn, and shown there; without outputs for a watch, as these would take the room of chunks.
        """
        small = await self._small_jobs[view].load(key)
        if small.unreadable:
            raise JobUnreadable(job_id_of(key))
        if small.read is not None:
            if call_key is None:
                return show(small.read, small.position)
            if call_key not in small.shown:
                small.shown[call_key] = show(small.read, small.position)
            shown: R = small.shown[call_key]
            return shown
        run = self._readers.for_watch if for_watch else self._readers.for_owner
        return await run(owner_of(key), self._read_and_show, key, show, view, not for_watch)

    def _read_and_show(self, key: str, show: ShowJob[R], view: View, with_outputs: bool) -> R:  # noqa: FBT001  given by position to a thread
        read = self._store.read_jobs([key], view, with_outputs=with_outputs)
        if key in read.unreadable:
            raise JobUnreadable(job_id_of(key))
        return show(self._with_next(read.jobs.get(key)), read.position)

    async def job(
        self, owner: str, job_id: str, show: Callable[[JobRead], R], view: View, *, call_key: Hashable = None
    ) -> R:
        """Return `show` of a job, made once for calls with one `call_key`; raises JobNotFound, JobUnreadable."""

        def shown(read: JobRead | None, _: int) -> R:
            if read is None:
                raise JobNotFound(job_id)
            return show(read)

        return await self.show_job(job_key(owner, job_id), shown, view, call_key=call_key)

    async def existing(self, owner: str, job_ids: Sequence[str]) -> list[str]:
        """Return those of these ids that jobs have."""
        keys = [job_key(owner, job_id) for job_id in job_ids]
        return [job_id_of(key) for key in await self._readers.for_owner(owner, self._store.existing, keys)]

    async def jobs(
        self,
        owner: str,
        job_ids: Sequence[str],
        show: Callable[[JobsRead], R],
        view: View,
        *,
        call_key: Hashable = None,
        known: Known = nothing_known,
    ) -> R:
        """Return `show` of the jobs that exist, as many as fit into a reply, all from one snapshot.

        Calls with the same `call_key` that wait together are one.
        """
        keys = [job_key(owner, job_id) for job_id in job_ids]

        def read_and_show() -> R:
            read = self._store.read_jobs(keys, view, with_outputs=True, known=known)
            return show(replace(read, jobs={key: self._with_next(job) for key, job in read.jobs.items()}))

        return await self._readers.for_equal_calls(owner, call_key, read_and_show)

    def _with_next(self, read: JobReadT) -> JobReadT:
        """Return a job with the page token of its unread chunks."""
        if read is None or not read.more_chunks:
            return read
        last = read.chunks[-1].index if read.chunks else -1
        mark = _chunks_mark(read.key, frozenset())
        return replace(read, next_chunks=self._tokens.encode(mark, last, read.create_time))

    async def list_jobs(
        self,
        listing: Listing,
        page_token: str,
        show: Callable[[JobPage], R],
        *,
        call_key: Hashable = None,
        known: Known = nothing_known,
    ) -> R:
        """Return `show` of a page of jobs; raises PageTokenInvalid.

        Every page carries the first one's total and cursor. Calls with the same `call_key` that wait together are one.
        """
        owner = listing.filter.owner
        mark = request_mark(listing.filter, listing.order, listing.ascending, listing.view)
        place = await self._tokens.parse(page_token, mark, _ListPlace)
        return await self._readers.for_equal_calls(
            owner, call_key, lambda: show(self._job_page(listing, mark, place, known))
        )

    def _job_page(self, listing: Listing, mark: str, place: _ListPlace | None, known: Known) -> JobPage:
        if place is None:
            listed = self._store.list_jobs(replace(listing, count_to=COUNT_TO), known)
            count, more, position = listed.count, int(listed.more), listed.position
        else:
            value, create_time, key, count, more, position = place
            listed = self._store.list_jobs(replace(listing, after=PageKey(value, create_time, key)), known)
        token = ""
        if listed.next:
            page = listed.next
            token = self._tokens.encode(mark, page.value, page.create_time, page.job_key, count, more, position)
        jobs, cursor = [self._with_next(job) for job in listed.jobs], self._cursors.encode(position)
        return JobPage(listed, jobs, token, count, bool(more), cursor)

    async def list_chunks(
        self,
        owner: str,
        job_id: str,
        states: frozenset[ChunkState],
        limit: int,
        page_token: str,
        show: Callable[[ChunkPage], R],
        *,
        claimable: bool = False,
        uid: str = "",
    ) -> R:
        """Return `show` of a page of a job's chunks, by index; raises JobNotFound, PageTokenInvalid.

        All pages are of the first one's job.
        """
        key = job_key(owner, job_id)
        mark = _chunks_mark(key, states, claimable=claimable)
        after, created = await self._tokens.parse(page_token, mark, tuple[int, Micros]) or (-1, None)

        def read_and_show() -> R:
            read = self._store.list_chunks(key, states, after, limit, claimable=claimable, uid=uid, create_time=created)
            if read is None:
                raise JobNotFound(job_id, uid)
            return show(ChunkPage(read, self._tokens.encode(mark, read.last, read.create_time) if read.more else ""))

        return await self._readers.for_owner(owner, read_and_show)

    async def list_attempts(self, query: AttemptsWanted, page_token: str, show: Callable[[AttemptPage], R]) -> R:
        """Return `show` of a page of attempts, by chunk and number; raises JobNotFound, PageTokenInvalid.

        All pages are of the first one's job.
        """
        mark = request_mark("attempts", query.job_key, query.chunk_index, query.task_id)
        if place := await self._tokens.parse(page_token, mark, tuple[int, int, Micros]):
            *after, created = place
            query = replace(query, after=AttemptPlace(*after), create_time=created)

        def read_and_show() -> R:
            read = self._store.list_attempts(query)
            if read is None:
                raise JobNotFound(job_id_of(query.job_key), query.uid)
            return show(AttemptPage(read, self._tokens.encode(mark, *read.last, read.create_time) if read.more else ""))

        return await self._readers.for_owner(owner_of(query.job_key), read_and_show)

    async def list_events(
        self,
        caller: str,
        query: EventsWanted,
        keeps: KeepEvent | None,
        limit: int,
        page_token: str,
        show: Callable[[EventPage], R],
    ) -> R:
        """Return `show` of a page of the events of a job, of an owner, or of all, that `keeps` keeps.

        Raises JobNotFound, PageTokenInvalid. The read counts as the caller's. `keeps` is asked about no more than 1,000
        events. All pages are of the first one's job.
        """
        mark = request_mark("events", query)
        after, uid = await self._tokens.parse(page_token, mark, tuple[int, str]) or (None, "")
        of_job = replace(query, uid=bytes.fromhex(uid)) if uid else query

        def read_and_show() -> R:
            page = self._store.find_events(of_job, after, limit if query.is_indexed or not keeps else MAX_ASKED)
            if page is None:
                raise JobNotFound(job_id_of(query.job_key or ""))
            rows, last = _fitting(page)
            if keeps:
                kept = [row for row in rows if keeps(row)]
                if len(kept) > limit:
                    last = kept[limit - 1].position
                rows = kept[:limit]
            token = "" if last is None else self._tokens.encode(mark, last, (page.uid or b"").hex())
            return show(EventPage(rows, token))

        return await self._readers.for_owner(caller, read_and_show)


def _fitting(page: EventPageRead) -> tuple[Sequence[EventRow], int | None]:
    """Return the rows of a page that fit into a reply, and the last position that was read, None at the end."""
    rows = page.rows[: fitting(len(row.message) for row in page.rows)]
    return rows, rows[-1].position if len(rows) < len(page.rows) else page.last


def _chunks_mark(key: str, states: frozenset[ChunkState], *, claimable: bool = False) -> str:
    return request_mark("claimable chunks" if claimable else "chunks", key, states)
