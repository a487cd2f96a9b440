"""The snapshots of a watch of many jobs: pages of the jobs that match, each as of a later position than the one before.

A stream in its snapshots is at a position and a place: the jobs at or before the place are as of the position. Before a
page is sent, the changes of these jobs up to the page's position are. So position and place together resume it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.codec import Codec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.reads import Listing, PageKey, View
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.history.terms import Point
from jobledger_service.core.model.job import job_id_of, job_key, owner_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import JobUnreadable
from jobledger_service.core.read.paging import request_mark
from jobledger_service.core.read.reading import ReadStore

SNAPSHOT_PAGE_SIZE: Final = 500
_LAST_TIME: Final = Micros(-(2**63))
"""The time in the place after all jobs of an owner."""


class Place(NamedTuple):
    """A place among the snapshots, which fall: by owner, then the newest job first."""

    owner: str
    create_time: Micros
    job_key: str

    @classmethod
    def of(cls, create_time: Micros, key: str) -> "Place":
        """Return the place of a job."""
        return cls(owner_of(key), create_time, key)

    def covers(self, entry: Entry) -> bool:
        """Whether an entry is of a job at or before this place."""
        fields = entry.after or entry.before
        return fields is not None and Place.of(fields.create_time, entry.job_key) >= self


FIRST: Final = Place("~", _LAST_TIME, "~/")
"""The place before all jobs: the name of no owner comes after it."""


class SnapshotPage(MsgStruct, frozen=True):
    """The messages of a page; the stream is at `next` after it, None after the last page."""

    messages: Sequence[bytes]
    position: int
    next: Place | None


class Snapshots:
    """Reads pages of snapshots; their messages carry cursors that resume after them."""

    def __init__(self, store: ReadStore, cursors: Cursors, codec: Codec) -> None:
        self._store = store
        self._cursors = cursors
        self._codec = codec

    def read(self, jobs: JobFilter, place: Place, *, status: bool = False) -> SnapshotPage:
        """Return the page after a place; its last message names the jobs that cannot be shown."""
        is_within = place.create_time != _LAST_TIME
        listed = jobs
        if jobs.all_owners:
            owner = place.owner if is_within else self._store.last_owner(place.owner)
            if owner is None:
                return SnapshotPage((), self._store.position(), None)
            listed = replace(jobs, owner=owner, all_owners=False)
        after = PageKey(place.create_time, place.create_time, place.job_key) if is_within else None
        view = View.STATUS if status else View.BASIC
        page = self._store.list_jobs(Listing(listed, limit=SNAPSHOT_PAGE_SIZE, after=after, view=view))
        messages, unreadable = [], [job_id_of(key) for key in page.unreadable]
        for read in page.jobs:
            cursor = self.cursor(jobs, page.position, Place.of(read.create_time, read.key))
            try:
                messages.append(self._codec.snapshot(read, cursor, status=status))
            except JobUnreadable:
                unreadable.append(read.job_id)
        if unreadable:
            messages.append(self._codec.unreadable_jobs(unreadable))
        following = None
        if page.next is not None:
            following = Place.of(page.next.create_time, page.next.job_key)
        elif jobs.all_owners:
            following = Place.of(_LAST_TIME, job_key(listed.owner, ""))
        return SnapshotPage(messages, page.position, following)

    def cursor(self, jobs: JobFilter, position: int, place: Place) -> bytes:
        """Return the cursor of a stream at a position and a place."""
        return self._cursors.encode_within(position, request_mark(jobs), place.create_time, place.job_key)

    def parse(self, cursor: bytes, jobs: JobFilter) -> tuple[Point, Place | None]:
        """Return the point of a cursor, and its place, None past the snapshots; refuses that of another filter."""
        point, within = self._cursors.parse_within(cursor, request_mark(jobs))
        return point, None if within is None else Place.of(*within)
