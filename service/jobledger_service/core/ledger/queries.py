"""The reading side: the current state, and the history."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, ParamSpec, TypeVar, cast

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.errors import JobNotFound, JobUnreadable
from jobledger_service.core.model.job import job_id_of, job_key, owner_of
from jobledger_service.core.model.states import ChunkState

from .cursor import Cursor
from .loader import Loader, NotReadError
from .paging import PageTokens, fitting, request_mark
from .read_ports import ChunksRead, EventRow, JobRead, JobsRead, Listing, PageKey, ReadStore, View
from .readers import OWNER_THREADS, READS_PER_OWNER, Reader, SharedReaders

P = ParamSpec("P")
R = TypeVar("R")
JobReadT = TypeVar("JobReadT", JobRead, JobRead | None)
ShowJob = Callable[[JobRead | None, int], R]
"""Makes a reply of a job, None when there is none, and of its position."""

COUNT_TO: Final = 1_000
"""The maximum of counts that cannot be exact."""


class JobPage(MsgStruct, frozen=True):
    """A page of jobs; `total` counts all that match, up to the maximum."""

    jobs: Sequence[JobRead]
    next_page_token: str
    total: int
    total_is_lower_bound: bool
    cursor: Cursor
    unreadable: Sequence[str] = ()
    """The keys of jobs of the page that cannot be read."""


class ChunkPage(MsgStruct, frozen=True):
    """A page of chunks."""

    read: ChunksRead
    next_page_token: str


class EventPage(MsgStruct, frozen=True):
    """A page of a job's history, as stored messages."""

    rows: Sequence[EventRow]
    next_page_token: str


class _SmallJob(NamedTuple):
    """A small job as it was read, None if it is not small, does not exist, or cannot be read; and the position."""

    read: JobRead | None
    position: int
    unreadable: bool


class Queries:
    """Reads on threads of their own. Each raises StoreUnavailable when the database is away.

    Owners take turns. Small single jobs of all callers are read together, and wait for no owner; neither do the reads
    of the server's own duties. A `show` function runs on the thread of the read, unless it shows only a small job: so
    the event loop builds no large reply.
    """

    def __init__(self, store: ReadStore, reads_per_owner: int = READS_PER_OWNER) -> None:
        self._store = store
        self.tokens = PageTokens(store.epoch)
        self._owners = SharedReaders("owners", OWNER_THREADS, reads_per_owner)
        self._single_jobs = Reader("single jobs")
        self._duties = Reader("duties")
        self._feed = Reader("feed")
        self.run_for_feed = self._feed.run
        self.run_for = self._owners.run
        self.run_for_watch = self._owners.run_for_watch
        self._small_jobs = {
            full: Loader(partial(self._fetch_small_jobs, full), owner_of=owner_of) for full in (False, True)
        }

    def close(self) -> None:
        """Wait for the running reads."""
        for one in (self._owners, self._single_jobs, self._duties, self._feed):
            one.close()

    def cursor(self, position: int) -> Cursor:
        """Return the cursor of a position in this ledger."""
        return Cursor(self._store.epoch.id, position)

    def parse_cursor(self, raw: bytes) -> int:
        """Return the position of a caller's cursor; raises InvalidField, ForeignCursor."""
        return Cursor.parse(raw, self._store.epoch.id).position

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read of the server itself: of a duty, of keys, of its health."""
        return await self._duties.run(read, *args, **kwargs)

    async def _fetch_small_jobs(self, full: bool, keys: Sequence[str]) -> Callable[[str], _SmallJob]:  # noqa: FBT001  bound by partial
        read = await self._single_jobs.run(self._store.read_small_jobs, keys, full=full)
        unread = set(read.unread)

        def found(key: str) -> _SmallJob:
            if key in unread:
                raise NotReadError
            return _SmallJob(read.jobs.get(key), read.position, key in read.unreadable)

        return found

    async def show_job(self, key: str, show: ShowJob[R], *, full: bool, for_watch: bool = False) -> R:
        """Return `show` of a job, as it is after every acknowledged write; raises JobUnreadable.

        Small jobs are read with those of other calls. Others are read in their owner's turn, and shown there.
        """
        small = await self._small_jobs[full].load(key)
        if small.unreadable:
            raise JobUnreadable(job_id_of(key))
        if small.read is not None:
            return show(small.read, small.position)
        run = self.run_for_watch if for_watch else self.run_for
        return await run(owner_of(key), self._read_and_show, key, show, full)

    def _read_and_show(self, key: str, show: ShowJob[R], full: bool) -> R:  # noqa: FBT001  given by position to a thread
        read = self._store.read_jobs([key], View.FULL if full else View.BASIC)
        if key in read.unreadable:
            raise JobUnreadable(job_id_of(key))
        return show(self._with_next(read.jobs.get(key)), read.position)

    async def job(self, owner: str, job_id: str, show: Callable[[JobRead], R], *, full: bool) -> R:
        """Return `show` of a job; raises JobNotFound, JobUnreadable."""

        def shown(read: JobRead | None, _: int) -> R:
            if read is None:
                raise JobNotFound(job_id)
            return show(read)

        return await self.show_job(job_key(owner, job_id), shown, full=full)

    async def existing(self, owner: str, job_ids: Sequence[str]) -> list[str]:
        """Return those of these ids that jobs have."""
        keys = [job_key(owner, job_id) for job_id in job_ids]
        return [job_id_of(key) for key in await self.run_for(owner, self._store.existing, keys)]

    async def jobs(self, owner: str, job_ids: Sequence[str], show: Callable[[JobsRead], R], view: View) -> R:
        """Return `show` of the jobs that exist, as many as fit into a reply, all from one snapshot."""
        keys = [job_key(owner, job_id) for job_id in job_ids]

        def read_and_show() -> R:
            read = self._store.read_jobs(keys, view)
            return show(replace(read, jobs={key: self._with_next(one) for key, one in read.jobs.items()}))

        return await self.run_for(owner, read_and_show)

    def _with_next(self, read: JobReadT) -> JobReadT:
        """Return a job with the page token of its unread chunks."""
        if read is None or not read.more_chunks:
            return read
        last = read.chunks[-1].index if read.chunks else -1
        return replace(read, next_chunks=self.tokens.encode(_chunks_mark(read.key, frozenset()), last))

    async def list_jobs(self, listing: Listing, page_token: str, show: Callable[[JobPage], R]) -> R:
        """Return `show` of a page of jobs; raises PageTokenInvalid.

        Every page carries the first one's total and cursor.
        """
        mark = request_mark(listing.filter, listing.order, listing.ascending, listing.view)
        place = self.tokens.parse(page_token, mark, int, int, str, int, int, int)
        return await self.run_for(
            listing.filter.owner, lambda: show(self._job_page(listing, mark, cast("_ListPlace | None", place)))
        )

    def _job_page(self, listing: Listing, mark: str, place: "_ListPlace | None") -> JobPage:
        if place is None:
            listed = self._store.list_jobs(replace(listing, count_to=COUNT_TO))
            count, more, position = listed.count, int(listed.more), listed.position
        else:
            value, create_time, key, count, more, position = place
            listed = self._store.list_jobs(replace(listing, after=PageKey(value, create_time, key)))
        token = ""
        if listed.next:
            page = listed.next
            token = self.tokens.encode(mark, page.value, page.create_time, page.job_key, count, more, position)
        jobs, cursor = [self._with_next(one) for one in listed.jobs], self.cursor(position)
        return JobPage(jobs, token, count, bool(more), cursor, listed.unreadable)

    async def list_chunks(
        self,
        owner: str,
        job_id: str,
        states: frozenset[ChunkState],
        limit: int,
        page_token: str,
        show: Callable[[ChunkPage], R],
    ) -> R:
        """Return `show` of a page of a job's chunks, by index; raises JobNotFound, PageTokenInvalid."""
        key = job_key(owner, job_id)
        mark = _chunks_mark(key, states)
        place = self.tokens.parse(page_token, mark, int)
        after = cast("int", place[0]) if place else -1

        def read_and_show() -> R:
            read = self._store.list_chunks(key, states, after, limit)
            if read is None:
                raise JobNotFound(job_id)
            return show(ChunkPage(read, self.tokens.encode(mark, read.last) if read.more else ""))

        return await self.run_for(owner, read_and_show)

    async def list_events(
        self, owner: str, job_id: str, limit: int, page_token: str, show: Callable[[EventPage], R]
    ) -> R:
        """Return `show` of a page of a job's history, oldest first; raises JobNotFound, PageTokenInvalid."""
        key = job_key(owner, job_id)
        mark = request_mark("events", key)
        place = self.tokens.parse(page_token, mark, int)
        after = cast("int", place[0]) if place else 0

        def read_and_show() -> R:
            read = self._store.job_events(key, after, limit + 1)
            if not read.rows and place is None and not self._store.existing([key]):
                raise JobNotFound(job_id)
            rows = read.rows[: fitting(len(row.message) for row in read.rows[:limit])]
            more = len(read.rows) > len(rows) or not read.complete
            return show(EventPage(rows, self.tokens.encode(mark, rows[-1].position) if more else ""))

        return await self.run_for(owner, read_and_show)


_ListPlace = tuple[int, int, str, int, int, int]


def _chunks_mark(key: str, states: frozenset[ChunkState]) -> str:
    return request_mark("chunks", key, states)


OPERATORS = ""
"""The owner of the operators' lists: they take turns with the owners, and no owner has an empty name."""
