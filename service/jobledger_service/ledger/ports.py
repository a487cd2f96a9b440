"""What the ledger needs of the rooms around it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.filter import Facts, JobFilter
from jobledger_service.domain.health import StoreVitals
from jobledger_service.domain.job import Job
from jobledger_service.domain.rollup import Tally
from jobledger_service.domain.roots import Place
from jobledger_service.domain.run import Run
from jobledger_service.domain.slots import Limit
from jobledger_service.domain.states import ChunkState, JobState

from .entry import Encoded, Entry, Record
from .stats import Figures, StatsQuery

ChunkKey = tuple[str, int]
Queue = tuple[str, str]
"""An owner and a kind: where chunks wait for workers."""


class RejectedStatementError(Exception):
    """The database refuses a statement of the transaction, which one of its commands brought."""


class ConflictError(Exception):
    """The transaction lost to another one (deadlock, serialization, a row of one name): it may be tried again."""


Clock = Callable[[], int]
"""Tells the time in microseconds since 1970."""

EncodeStruct = Callable[[Mapping[str, object]], bytes]
"""Makes an encoded Struct, such as inputs and metadata are, of names and JSON values."""


class NotDeletedError(Exception):
    """What an artifact points at is still there; `may_pass` says that another attempt may succeed."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


RemovePlace = Callable[[Place], bool]
"""Deletes one file or object below a root, never a directory, and returns whether it was there; NotDeletedError."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Chunks that are wanted: of one owner, of any of the kinds."""

    owner: str
    kinds: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks that were found for a demand; `contended` when other replicas may hold, or take, more of them."""

    chunks: Sequence[ChunkKey]
    contended: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request that took effect: what it said, and the job that it was about."""

    fingerprint: bytes
    job_key: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """Encoded Structs: a job's input, and those of its chunks that have one."""

    job: bytes | None = None
    chunks: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Writes:
    """All rows that one transaction changes."""

    new_jobs: list[tuple[Job, Inputs]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    deleted_jobs: list[str] = field(default_factory=list)
    new_chunks: list[tuple[Job, Chunk, bytes | None]] = field(default_factory=list)
    chunks: list[tuple[Job, Chunk]] = field(default_factory=list)
    reprioritised: list[Job] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    new_words: list[tuple[str, str]] = field(default_factory=list)
    """What full text holds of new jobs, by key."""
    words: list[tuple[str, str]] = field(default_factory=list)
    """What it holds now of jobs of which it held something else."""
    tally: Tally = field(default_factory=Tally)
    parked: list[Job] = field(default_factory=list)
    """Jobs whose chunks that wait are to be as the job is now: parked, or not."""
    new_limits: list[Limit] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    """Limits of which it changed how many may run, or who says so."""
    slots: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By limit, how many more jobs hold a slot, and how many more wait for one."""
    new_runs: list[str] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)


class Transaction(Protocol):
    """The one writing transaction of a batch. Methods raise RejectedStatementError, ConflictError, StoreUnavailable."""

    def claimable(self, demand: Demand) -> Candidates:
        """Return the most urgent chunks that wait, the oldest job first within a priority, and lock their jobs.

        It never waits for a lock, and so comes after `jobs`.
        """

    def jobs(self, keys: Iterable[str]) -> dict[str, Job]:
        """Return those that exist, locked in the order of their keys."""

    def chunks(self, keys: Iterable[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return those that exist, of jobs that are locked."""

    def chunks_of(self, job_key: str) -> list[Chunk]:
        """Return all chunks of a locked job, by index."""

    def requests(self, keys: Iterable[str]) -> dict[str, Request]:
        """Return the requests that took effect."""

    def limits(self, keys: Iterable[str]) -> dict[str, Limit]:
        """Return those that were ever set, locked in the order of their keys."""

    def runs(self, keys: Iterable[str]) -> dict[str, Run]:
        """Return, by job, the runs of those of the service's own jobs that are locked."""

    def inputs(self, chunks: Iterable[ChunkKey]) -> dict[str, Inputs]:
        """Return, by job, the inputs of these chunks and of their jobs."""

    def save(self, writes: Writes, now: int) -> None:
        """Write all rows, and add the tally last: all replicas write to the same few rows of the counts and rollups."""

    def append(self, records: Sequence[tuple[Record, Encoded]], seal: "Seal") -> int:
        """Take as many positions as there are records, append them as events, and return the first position."""


Seal = Callable[[Encoded, int], bytes]
"""Makes the finished watch message of an entry and its position."""


class WriteStore(Protocol):
    """The writing half of the store."""

    @property
    def single_writer(self) -> bool:
        """Whether no other process can write to this database."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that commits, durably, when the block ends without an error."""


Reduce = Callable[[bytes], bytes | None]
"""Makes of a stored watch message what the audit trail keeps of it, None when that is nothing."""


class Upkeep(Protocol):
    """What the store forgets, in small steps on the writer's thread. Methods raise StoreUnavailable."""

    def trim_events(self, before: int, limit: int) -> int | None:
        """Forget at most `limit` of the oldest events committed before a time; return the newest position forgotten.

        What the audit trail keeps of them goes there.
        """

    def trim_limits(self, before: int, limit: int) -> int:
        """Forget at most `limit` limits that hold nothing, are not an operator's and were set before a time."""

    def trim_requests(self, before: int, limit: int) -> int:
        """Forget at most `limit` requests from before a time; return how many."""

    def fold(self, owner: str, hour: int) -> int:
        """Fold rollups of an hour, since 1970, into running totals; return how many: 0 also while another folds."""

    def trim_audit(self, before: int, limit: int) -> int:
        """Forget at most `limit` entries of the audit trails of jobs deleted before a time; return how many went."""


@dataclass(frozen=True, slots=True)
class JobRead:
    """A job as a caller sees it; inputs and chunks only when they were asked for."""

    job: Job
    inputs: Inputs = field(default_factory=Inputs)
    chunks: Sequence[Chunk] = ()
    place: int | None = None
    """Its place among the jobs that wait for the same limit, from 1; None when it does not wait."""


@dataclass(frozen=True, slots=True)
class JobsRead:
    """Jobs by key, all as of one position."""

    position: int
    jobs: Mapping[str, JobRead]


class JobStatus(NamedTuple):
    """As much of a job as a screen shows of many; times in microseconds since 1970."""

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
    """What a list is ordered by."""

    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    END_TIME = "end_time"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class PageKey:
    """A place in a list: the value that it is ordered by, then creation, then the key."""

    value: int
    create_time: int
    job_key: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Which jobs, in which order, after which place, and how many.

    `count_to` is where counting stops when it cannot be exact, 0 for no count.
    """

    filter: JobFilter
    order: Order = Order.CREATE_TIME
    ascending: bool = False
    after: PageKey | None = None
    limit: int = 20
    view: View = View.BASIC
    count_to: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A page, which may be short before the last; `next` is where the following page begins, None after the last.

    In view STATUS the page is in `statuses`, else in `jobs`. `count` is how many jobs match, as far as that was asked
    for; with `more` there may be more.
    """

    position: int
    jobs: Sequence[JobRead]
    next: PageKey | None
    count: int
    more: bool = False
    statuses: Sequence[JobStatus] = ()


@dataclass(frozen=True, slots=True)
class ChunksRead:
    """A page of chunks with their inputs; None for a job that does not exist."""

    chunks: Sequence[Chunk]
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it is stored: the finished message, and what a filter needs to know beside it."""

    position: int
    job_key: str
    message: bytes
    before: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class EventsRead:
    """Events after a position; all up to `through` have been looked at; `trimmed` is the newest position forgotten.

    `complete` says that nothing followed when this was read.
    """

    rows: Sequence[EventRow]
    through: int
    trimmed: int
    complete: bool


class ReadStore(Protocol):
    """The reading half of the store. Every method is one snapshot, and raises StoreUnavailable."""

    @property
    def ledger(self) -> UUID:
        """The name of this ledger."""

    def position(self) -> int:
        """Return the position of the newest event."""

    def read_jobs(self, keys: Iterable[str], *, full: bool) -> JobsRead:
        """Return the jobs that exist."""

    def read_statuses(self, keys: Iterable[str]) -> list[JobStatus]:
        """Return the statuses of the jobs that exist, in no order."""

    def list_jobs(self, listing: Listing) -> Listed:
        """Return a page of jobs."""

    def queued_jobs(self, owners: Iterable[str], most: int) -> dict[str, int]:
        """Return how many jobs of each owner are QUEUED, counted no farther than `most`."""

    def list_chunks(self, job_key: str, states: frozenset[ChunkState], after: int, limit: int) -> ChunksRead | None:
        """Return a job's chunks with an index above `after`."""

    def events(self, after: int, limit: int, job_key: str | None = None) -> EventsRead:
        """Return the events after a position, of one job or of all, oldest first; fewer when they are large."""

    def figures(self, query: StatsQuery) -> Figures:
        """Return statistics."""

    def unfolded(self, before: int) -> tuple[str, int] | None:
        """Return an owner and an hour before `before`, since 1970, with rollups to be folded; None for none."""

    def job_events(self, job_key: str, after: int, limit: int) -> EventsRead:
        """Return a job's events after a position, oldest first: what the audit trail keeps of them, then the whole."""

    def expired_leases(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose lease has run out."""

    def due_retries(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose wait after a failed attempt is over."""

    def overdue_cancels(self, now: int, limit: int) -> list[str]:
        """Return CANCELLING jobs whose grace period is over."""

    def free_slots(self, limit: int) -> list[str]:
        """Return parked jobs for which there is a slot, the most urgent and oldest of each limit."""

    def limits(self, owner: str) -> list[Limit]:
        """Return the limits that are in force, by scope."""

    def expired_jobs(self, now: int, limit: int) -> list[str]:
        """Return ended jobs whose time to be deleted has come."""

    def service_queues(self) -> list[Queue]:
        """Return where chunks of the service's own jobs wait, those that have waited longest first."""

    def read_run(self, job_key: str) -> Run | None:
        """Return the run of one of the service's own jobs, None when there is no such job."""

    def vitals(self) -> StoreVitals:
        """Return how the database fares; cheap enough for each few seconds."""


class Codec(Protocol):
    """Makes watch messages. The ledger stores and forwards them without looking inside."""

    def encode(self, record: Record) -> Encoded:
        """Return the message of a record, without its position."""

    def seal(self, encoded: Encoded, cursor: bytes, position: int) -> bytes:
        """Return the finished message."""

    def open(self, row: EventRow) -> Entry:
        """Return the entry of a stored event."""

    def snapshot(self, read: JobRead, cursor: bytes) -> bytes:
        """Return the message that shows a job as it is; without a cursor when that is empty."""

    def merge(self, latest: Entry, earlier: Sequence[Entry], cursor: bytes) -> bytes:
        """Return the message of an entry into which earlier ones of its job were merged; `earlier` may be empty."""

    def left(self, message: bytes) -> bytes:
        """Return the message as the one that tells that a job no longer matches."""

    def bookmark(self, cursor: bytes) -> bytes:
        """Return a message that is a cursor alone."""


class Subscription(Protocol):
    """One watcher's place in the feed."""

    @property
    def position(self) -> int:
        """Everything up to here was handed out or did not concern the watcher."""

    async def next(self, patience: float) -> Sequence[Entry]:
        """Return what follows, oldest first; nothing when `patience` seconds pass or there is news that is not for it.

        Raises HistoryTrimmed, Draining, StoreUnavailable.
        """

    def close(self) -> None:
        """Leave the feed."""


class Feed(Protocol):
    """Hands entries to watchers."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    def subscribe(self, after: int, job_key: str | None = None) -> Subscription:
        """Follow one job, or all, from a position on."""


class WatchedFeed(Protocol):
    """What can be seen of the feed from outside."""

    @property
    def position(self) -> int:
        """The newest position that this process knows of."""

    @property
    def watchers(self) -> int:
        """How many watches are open."""


def facts_diff(before: Facts, after: Facts) -> dict[str, object]:
    """Return what of `before` differs in `after`, fit for JSON."""
    names = ("state", "priority", "display_name", "error", "update_time", "end_time")
    differs: dict[str, object] = {n: getattr(before, n) for n in names if getattr(before, n) != getattr(after, n)}
    if before.labels != after.labels:
        differs["labels"] = dict(before.labels)
    return differs
