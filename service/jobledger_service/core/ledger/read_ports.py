"""The reading port of the store: jobs, lists and events."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.epoch import Epoch
from jobledger_service.core.model.filter import JobFilter
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.model.run import RunState
from jobledger_service.core.model.states import ChunkState, JobState
from jobledger_service.core.model.vitals import StoreVitals

from .entry import ArtifactsKey
from .ports import ChunkKey, Inputs, Queue


class JobRead(MsgStruct, frozen=True):
    """A job as a caller sees it, encoded; inputs and chunks only on request."""

    key: str
    state: JobState
    revision: int
    create_time: int
    priority: int
    parked_for: str
    """The limit whose slot it waits for; empty for none."""
    chunk_count: int
    message: bytes
    """The encoded job in view BASIC, without its place."""
    size: int
    """The bytes of its segments, whether its artifacts were read or not."""
    inputs: Inputs = Inputs()
    chunks: Sequence[Chunk] = ()
    place: int | None = None
    """Its place among the jobs that wait for the same limit, from 1; None when it does not wait."""
    more_chunks: bool = False
    """Whether it has chunks after those that were read."""
    next_chunks: str = ""
    """The page token that lists them."""

    @property
    def job_id(self) -> str:
        """Its id within its owner."""
        return job_id_of(self.key)


class JobsRead(MsgStruct, frozen=True):
    """Jobs by key, all as of one position.

    `unreadable` are the keys of existing jobs that cannot be read, `unread` those without room in the reply, at most
    all but one.
    """

    position: int
    jobs: Mapping[str, JobRead]
    unreadable: Collection[str] = ()
    unread: Sequence[str] = ()


class JobStatus(NamedTuple):
    """The part of a job that screens show of many; times in microseconds since 1970."""

    job_key: str
    job_id: str
    kind: str
    display_name: str
    state: JobState
    revision: int
    update_time: int
    percent: float
    stage: str
    stage_percent: float | None
    eta: int | None


class View(StrEnum):
    """How much of a job is read."""

    STATUS = "STATUS"
    BASIC = "BASIC"
    FULL = "FULL"


class Order(StrEnum):
    """The order of a list."""

    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    END_TIME = "end_time"
    PRIORITY = "priority"


class PageKey(MsgStruct, frozen=True):
    """A place in a list: the value of its order, then creation, then the key."""

    value: int
    create_time: int
    job_key: str


class Listing(MsgStruct, frozen=True):
    """A query for jobs: filter, order, place and limit.

    `count_to` is the maximum of a count that cannot be exact, 0 for no count. `copies` is how many times a reply
    contains each job.
    """

    filter: JobFilter
    order: Order = Order.CREATE_TIME
    ascending: bool = False
    after: PageKey | None = None
    limit: int = 20
    view: View = View.BASIC
    count_to: int = 0
    copies: int = 1


class Listed(MsgStruct, frozen=True):
    """A page, possibly short before the last; `next` is where the following page begins, None after the last.

    In view STATUS the page is in `statuses`, else in `jobs`; `unreadable` are the keys of jobs of the page that cannot
    be read. `count` is the number of matching jobs, up to the requested maximum; with `more` there may be more.
    """

    position: int
    jobs: Sequence[JobRead]
    next: PageKey | None
    count: int
    more: bool = False
    statuses: Sequence[JobStatus] = ()
    unreadable: Sequence[str] = ()


class StatusesRead(MsgStruct, frozen=True):
    """Statuses of jobs, in no order; `unreadable` are the keys of existing jobs that cannot be read."""

    statuses: Sequence[JobStatus]
    unreadable: Collection[str] = ()

    @property
    def exist(self) -> int:
        """The number of existing jobs."""
        return len(self.statuses) + len(self.unreadable)


class ChunksRead(MsgStruct, frozen=True):
    """A page of chunks with their inputs; `more` means that others follow `last`, the last index that was read.

    `unreadable` are the indexes of chunks of the page that cannot be read.
    """

    chunks: Sequence[Chunk]
    inputs: Inputs
    last: int = -1
    more: bool = False
    unreadable: Sequence[int] = ()


class EventRow(MsgStruct, frozen=True):
    """An event as it is stored: the message, what a filter needs to know beside it, and the artifacts it refers to.

    Of a version that the store lacks there is None.
    """

    position: int
    job_key: str
    message: bytes
    before: Mapping[str, object] | None
    artifacts: Mapping[ArtifactsKey, bytes | None] = {}


class EventsRead(MsgStruct, frozen=True):
    """Events after a position, read up to `through`; `trimmed` is the newest deleted position.

    `complete` means that nothing followed at the time of the read.
    """

    rows: Sequence[EventRow]
    through: int
    trimmed: int
    complete: bool


class ReadStore(Protocol):
    """The reading half of the store. Every method is one snapshot, and raises StoreUnavailable."""

    @property
    def epoch(self) -> Epoch:
        """The epoch of the ledger."""

    def position(self) -> int:
        """Return the position of the newest event."""

    def read_jobs(self, keys: Sequence[str], *, full: bool, bounded: bool = True) -> JobsRead:
        """Return the jobs that exist, as many as fit into a reply unless all are wanted."""

    def read_small_jobs(self, keys: Sequence[str], *, full: bool) -> JobsRead:
        """Return the jobs that exist and are small, of any owners, reading few rows and bytes whatever the keys are."""

    def read_statuses(self, keys: Iterable[str]) -> StatusesRead:
        """Return the statuses of the jobs that exist."""

    def list_jobs(self, listing: Listing) -> Listed:
        """Return a page of jobs, as many as fit into a reply."""

    def queued_jobs(self, owners: Iterable[str], limit: int) -> dict[str, int]:
        """Return the number of QUEUED jobs of each owner, counted up to `limit`."""

    def list_chunks(self, job_key: str, states: frozenset[ChunkState], after: int, limit: int) -> ChunksRead | None:
        """Return a job's chunks with an index above `after`, as many as fit into a reply; None for no job."""

    def events(self, after: int, limit: int, *, owner: str | None = None, job_key: str | None = None) -> EventsRead:
        """Return the events after a position, of one job, of one owner or of all, oldest first.

        There are fewer than `limit` when they are large, but at least one if there is one.
        """

    def job_events(self, job_key: str, after: int, limit: int) -> EventsRead:
        """Return a job's events after a position, oldest first: first from the audit trail, then without artifacts."""

    def expired_leases(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose lease has expired."""

    def due_retries(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose wait after a failed attempt is over."""

    def overdue_cancels(self, now: int, limit: int) -> list[str]:
        """Return CANCELLING jobs whose grace period is over."""

    def expired_jobs(self, now: int, limit: int) -> list[str]:
        """Return ended jobs whose expire_time has come."""

    def service_queues(self) -> list[Queue]:
        """Return the queues of waiting chunks of the service's own jobs, the longest waiting first."""

    def read_run(self, job_key: str) -> RunState | None:
        """Return the run of one of the service's own jobs, None when there is no such job."""

    def vitals(self) -> StoreVitals:
        """Return the health of the database; cheap enough for every few seconds."""
