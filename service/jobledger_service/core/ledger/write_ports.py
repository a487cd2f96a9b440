"""The writing port of the store: one transaction a batch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import Artifacts, Chunk, WorkError
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.model.sweep import Sweep, Totals

from .entry import ChunkRange, Entry, JobSegments, Positions, Record
from .ports import ChunkKey, Inputs, Queue


class RejectedStatementError(Exception):
    """The database refuses a statement of the transaction, because of one of its commands."""


class ConflictError(Exception):
    """The transaction lost to another one (deadlock, serialization, a unique key): it may be retried."""


class ClaimQuery(MsgStruct, frozen=True):
    """A query for waiting chunks: of one owner, of any of the kinds."""

    owner: str
    kinds: tuple[str, ...]
    limit: int

    @property
    def queues(self) -> list[Queue]:
        """The queues of these chunks."""
        return [(self.owner, kind) for kind in self.kinds]


class WaitingChunk(NamedTuple):
    """A chunk that waits for a worker. They are ordered by urgency: the most urgent is the least."""

    minus_priority: int
    create_time: int
    job_key: str
    chunk_index: int

    @property
    def key(self) -> ChunkKey:
        """The chunk's job and index."""
        return self.job_key, self.chunk_index


class SweptRows(MsgStruct, frozen=True):
    """The chunks of a job that a sweep changes with one statement: all that it covers, except the `loaded` ones."""

    sweep: Sweep
    loaded: Sequence[int]
    ranges: Sequence[ChunkRange]
    """Their ranges."""

    @property
    def count(self) -> int:
        """Their number."""
        return sum(run.last - run.first + 1 for run in self.ranges)


class Writes(MsgStruct):
    """The rows of jobs and chunks that one transaction changes."""

    new_jobs: list[tuple[Job, Inputs, JobSegments]] = []
    jobs: list[tuple[Job, JobSegments]] = []
    deleted_jobs: list[str] = []
    new_chunks: list[tuple[Job, Sequence[Chunk], Mapping[int, bytes]]] = []
    """The chunks of new jobs, and the inputs of those that have one."""
    chunks: list[tuple[Job, Chunk]] = []
    swept: list[tuple[Job, SweptRows]] = []
    reprioritised: list[Job] = []
    new_words: list[tuple[str, str]] = []
    """The full text of new jobs, by key."""
    words: list[tuple[str, str]] = []
    """The changed full text of existing jobs."""
    parked: list[Job] = []
    """Jobs whose waiting chunks must follow the job: parked, or not."""


class Transaction(Protocol):
    """The one writing transaction of a batch. Methods raise RejectedStatementError, ConflictError, StoreUnavailable."""

    @property
    def connection(self) -> Any:  # noqa: ANN401  the store's own, for the rows of families
        """What families read and write their rows with."""

    @property
    def shared(self) -> bool:
        """Whether other processes may hold jobs."""

    def waiting_chunks(self, wanted: Mapping[Queue, int]) -> Mapping[Queue, Sequence[WaitingChunk]]:
        """Return the first chunks in each queue, up to a number, the most urgent first, then the oldest job's."""

    def lock_free(self, keys: Collection[str]) -> Collection[str]:
        """Lock the free ones of some jobs, and return them.

        It never waits for a lock, and so may come after `jobs`.
        """

    def jobs(self, keys: Iterable[str]) -> dict[str, Job]:
        """Return the existing, readable jobs, locked in the order of their keys."""

    def chunks(self, keys: Iterable[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return the existing, readable chunks of locked jobs."""

    @property
    def unreadable(self) -> Collection[str | ChunkKey]:
        """The requested jobs and chunks that exist and cannot be read. No claim finds them for a minute."""

    def covered(self, job_key: str, sweep: Sweep) -> list[Chunk]:
        """Return the readable chunks of a locked job that a sweep covers."""

    def ranges(self, job_key: str, sweep: Sweep, excluded: Collection[int]) -> list[ChunkRange]:
        """Return which chunks of a locked job a sweep covers, except some, as they are after it, by index."""

    def totals(self, job_key: str, excluded: Collection[int], now: int) -> Totals:
        """Return the sums over the chunks of a locked job in PROCESSING, except some."""

    def chunk_states(self, job_key: str, indexes: Collection[int]) -> dict[int, ChunkState]:
        """Return the states of those of these chunks that exist."""

    def first_error(self, job_key: str, excluded: Collection[int]) -> tuple[int, WorkError | None] | None:
        """Return the index and the error of a locked job's first FAILED chunk, except some; None for none."""

    def chunk_artifacts(self, job_key: str) -> dict[int, Artifacts]:
        """Return the artifacts of the chunks of a locked job, by index."""

    def inputs(self, chunks: Iterable[ChunkKey]) -> dict[str, Inputs]:
        """Return the inputs of these chunks and of their jobs, by job."""

    def save(self, writes: Writes) -> None:
        """Write the rows of jobs and chunks."""

    def announce_ready(self, ready: Mapping[Queue, int]) -> None:
        """Notify other processes, at the commit, how many chunks wait again without an event."""

    def take_positions(self, count: int, now: int) -> Positions:
        """Take so many positions, as the transaction's last lock.

        Their commit_time is `now`, or that of the previous event when it is later.
        """

    def insert_artifacts(self, records: Sequence[Record], entries: Sequence[Entry]) -> None:
        """Insert the artifacts that these records changed, as the entries encode them."""

    def insert_events(self, records: Sequence[Record], entries: Sequence[Entry], commit_time: int) -> None:
        """Insert the entries of records at positions that were taken."""


class WriteStore(Protocol):
    """The writing half of the store."""

    @property
    def single_writer(self) -> bool:
        """Whether no other process can write to this database."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that commits, durably, when the block ends without an error."""
