"""The reading side: what is true now, and what was said."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple, ParamSpec, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from jobledger_service.domain.errors import JobNotFound, JobUnreadable
from jobledger_service.domain.job import job_id_of, job_key
from jobledger_service.domain.limits import MAX_REPLY_BYTES
from jobledger_service.domain.slots import Limit
from jobledger_service.domain.states import ChunkState

from .cursor import Cursor
from .loader import Loader, NotReadError
from .paging import PageTokens, request_mark
from .read_ports import ChunksRead, EventRow, JobRead, JobsRead, JobStatus, Listing, PageKey, ReadStore, StatusesRead
from .readers import OWNER_THREADS, READS_PER_OWNER, Reader, SharedReaders
from .stats import Figures, StatsQuery

P = ParamSpec("P")
R = TypeVar("R")
JobReadT = TypeVar("JobReadT", JobRead, JobRead | None)

COUNT_TO: Final = 1_000
"""Where counting stops when it cannot be exact."""


class JobPage(Struct, frozen=True):
    """A page of jobs, or of their statuses; `total` counts all that match, as far as they were counted."""

    jobs: Sequence[JobRead]
    statuses: Sequence[JobStatus]
    next_page_token: str
    total: int
    total_is_lower_bound: bool
    cursor: Cursor
    unreadable: Sequence[str] = ()
    """The keys of jobs of the page that cannot be read."""


class ChunkPage(Struct, frozen=True):
    """A page of chunks."""

    read: ChunksRead
    next_page_token: str


class EventPage(Struct, frozen=True):
    """A page of a job's history, as stored messages."""

    rows: Sequence[EventRow]
    next_page_token: str


class _Found(NamedTuple):
    """What was read of a job, if it exists and can be read, and when."""

    read: JobRead | None
    position: int
    unreadable: bool


class Queries:
    """Reads on threads of their own. Each raises StoreUnavailable when the database is away.

    Owners take turns. Reads of single jobs, which go together, and those of the server's own duties wait for no owner.
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
        self._statuses = Loader(self._fetch_statuses)
        self._loaders = {full: Loader(partial(self._fetch_jobs, full)) for full in (False, True)}

    def close(self) -> None:
        """Let the reads that run finish."""
        for one in (self._owners, self._single_jobs, self._duties, self._feed):
            one.close()

    def cursor(self, position: int) -> Cursor:
        """Return the cursor of a position in this ledger."""
        return Cursor(self._store.epoch.id, position)

    def parse_cursor(self, raw: bytes) -> int:
        """Return the position that a caller's cursor names; raises InvalidField, ForeignCursor."""
        return Cursor.parse(raw, self._store.epoch.id).position

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out a read that the server itself needs: of a duty, of keys, of its health."""
        return await self._duties.run(read, *args, **kwargs)

    async def _fetch_jobs(self, full: bool, keys: Sequence[str]) -> Callable[[str], _Found]:  # noqa: FBT001  bound by partial
        read = await self._single_jobs.run(self._store.read_jobs, keys, full=full)
        unread = set(read.unread)

        def found(key: str) -> _Found:
            if key in unread:
                raise NotReadError
            return _Found(self._with_next(read.jobs.get(key)), read.position, key in read.unreadable)

        return found

    async def find_job(self, key: str, *, full: bool) -> tuple[JobRead | None, int]:
        """Return a job, None when there is none, and the position at which that is true; gathered with other calls.

        Raises JobUnreadable.
        """
        found = await self._loaders[full].load(key)
        if found.unreadable:
            raise JobUnreadable(job_id_of(key))
        return found.read, found.position

    async def job(self, owner: str, job_id: str, *, full: bool) -> JobRead:
        """Return a job, as it is after every acknowledged write; raises JobNotFound, JobUnreadable."""
        read, _ = await self.find_job(job_key(owner, job_id), full=full)
        if read is None:
            raise JobNotFound(job_id)
        return read

    async def _fetch_statuses(self, keys: Sequence[str]) -> Callable[[str], JobStatus | JobUnreadable | None]:
        read = await self._single_jobs.run(self._store.read_statuses, keys)
        by_key = {one.job_key: one for one in read.statuses}
        return lambda key: JobUnreadable(job_id_of(key)) if key in read.unreadable else by_key.get(key)

    async def status(self, owner: str, job_id: str) -> JobStatus:
        """Return the status of a job, as it is after every acknowledged write; raises JobNotFound, JobUnreadable."""
        found = await self._statuses.load(job_key(owner, job_id))
        if found is None:
            raise JobNotFound(job_id)
        if isinstance(found, JobUnreadable):
            raise found
        return found

    async def statuses(self, owner: str, job_ids: Sequence[str]) -> StatusesRead:
        """Return the statuses of the jobs that exist, all from one moment."""
        keys = [job_key(owner, job_id) for job_id in job_ids]
        return await self.run_for(owner, self._store.read_statuses, keys)

    async def jobs(self, owner: str, job_ids: Sequence[str], *, full: bool) -> JobsRead:
        """Return the jobs that exist, as many as fit into a reply, by key, all from one moment."""
        keys = [job_key(owner, job_id) for job_id in job_ids]
        read = await self.run_for(owner, self._store.read_jobs, keys, full=full)
        return replace(read, jobs={key: self._with_next(one) for key, one in read.jobs.items()})

    def _with_next(self, read: JobReadT) -> JobReadT:
        """Return a job with the page token of its chunks that were not read."""
        if read is None or not read.more_chunks:
            return read
        last = read.chunks[-1].index if read.chunks else -1
        return replace(read, next_chunks=self.tokens.encode(_chunks_mark(read.job.key, frozenset()), last))

    async def list_jobs(self, listing: Listing, page_token: str) -> JobPage:
        """Return a page of jobs; every page carries the first one's total and cursor. Raises PageTokenInvalid."""
        owner = listing.filter.owner
        mark = request_mark(listing.filter, listing.order, listing.ascending, listing.view)
        place = self.tokens.parse(page_token, mark, int, int, str, int, int, int)
        if place is None:
            listed = await self.run_for(owner, self._store.list_jobs, replace(listing, count_to=COUNT_TO))
            count, more, position = listed.count, int(listed.more), listed.position
        else:
            value, create_time, key, count, more, position = cast("tuple[int, int, str, int, int, int]", place)
            after = PageKey(value, create_time, key)
            listed = await self.run_for(owner, self._store.list_jobs, replace(listing, after=after))
        token = ""
        if listed.next:
            page = listed.next
            token = self.tokens.encode(mark, page.value, page.create_time, page.job_key, count, more, position)
        jobs, cursor = [self._with_next(one) for one in listed.jobs], self.cursor(position)
        return JobPage(jobs, listed.statuses, token, count, bool(more), cursor, listed.unreadable)

    async def figures(self, query: StatsQuery) -> Figures:
        """Return statistics."""
        return await self.run_for(query.owner, self._store.figures, query)

    async def limits(self, owner: str) -> list[Limit]:
        """Return the concurrency limits that are in force, by scope."""
        return await self.run_for(owner, self._store.limits, owner)

    async def list_chunks(
        self, owner: str, job_id: str, states: frozenset[ChunkState], limit: int, page_token: str
    ) -> ChunkPage:
        """Return a page of a job's chunks, by index; raises JobNotFound, PageTokenInvalid."""
        key = job_key(owner, job_id)
        mark = _chunks_mark(key, states)
        place = self.tokens.parse(page_token, mark, int)
        after = cast("int", place[0]) if place else -1
        read = await self.run_for(owner, self._store.list_chunks, key, states, after, limit)
        if read is None:
            raise JobNotFound(job_id)
        return ChunkPage(read, self.tokens.encode(mark, read.last) if read.more else "")

    async def list_events(self, owner: str, job_id: str, limit: int, page_token: str) -> EventPage:
        """Return a page of a job's history, oldest first; raises JobNotFound, PageTokenInvalid."""
        key = job_key(owner, job_id)
        mark = request_mark("events", key)
        place = self.tokens.parse(page_token, mark, int)
        after = cast("int", place[0]) if place else 0
        read = await self.run_for(owner, self._store.job_events, key, after, limit + 1)
        if not read.rows and place is None and (await self.find_job(key, full=False))[0] is None:
            raise JobNotFound(job_id)
        rows = _fitting(read.rows[:limit])
        more = len(read.rows) > len(rows) or not read.complete
        return EventPage(rows, self.tokens.encode(mark, rows[-1].position) if more else "")


def _chunks_mark(key: str, states: frozenset[ChunkState]) -> str:
    return request_mark("chunks", key, states)


def _fitting(rows: Sequence[EventRow]) -> Sequence[EventRow]:
    """Return the first rows, at least one, that fit into a reply."""
    sizes = accumulate(len(row.message) for row in rows)
    return rows[: max(1, sum(size <= MAX_REPLY_BYTES for size in sizes))]
