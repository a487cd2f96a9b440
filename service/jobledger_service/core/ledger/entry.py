"""One entry of the ledger: all that one commit changed on one job."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.change import Change
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.filter import FilterFields, JobFilter
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.states import ChunkState


class ChunkRange(MsgStruct, frozen=True):
    """Chunks from one index through another that changed to one state together."""

    first: int
    last: int
    state: ChunkState


class JobSegments(NamedTuple):
    """A job as three encoded messages: what never changes, its artifacts, and what moves.

    Joined in any order they are the message of the job: encoded messages concatenate.
    """

    fixed: bytes
    artifacts: bytes
    moving: bytes

    @property
    def joined(self) -> bytes:
        """The encoded job."""
        return b"".join(self)


class Record(MsgStruct, frozen=True):
    """What a commit did to one job, before it is encoded; `before` is None for a job that it created.

    `chunks` are listed one by one, `ranges` by their state alone. `previous` is the whole job before, when the event
    with that state may soon be trimmed.
    """

    before: FilterFields | None
    job: Job
    chunks: Sequence[Chunk]
    changes: Sequence[Change]
    deleted: bool
    ranges: Sequence[ChunkRange] = ()
    previous: Job | None = None


class Positions(NamedTuple):
    """The positions of one commit, from `first` on; later positions never have earlier times."""

    first: int
    commit_time: int


class Entry(MsgStruct, frozen=True):
    """An entry with its place and its finished message; fields are None before its creation and after its deletion.

    `chunks` is the part of the message with the changed chunks, so that messages can be merged without decoding them.
    The message is empty for a stored event that cannot be read, which has no filter fields either. `ready` counts the
    chunks that now wait for workers; it is known for entries of other processes.
    """

    position: int
    job_key: str
    revision: int
    before: FilterFields | None
    after: FilterFields | None
    ended: bool
    message: bytes
    chunks: bytes
    chunk_count: int
    ready: int = 0

    @property
    def is_readable(self) -> bool:
        """Whether the stored event could be read."""
        return bool(self.message)

    def concerns(self, jobs: JobFilter) -> bool:
        """Whether the job matched before the change, or matches after it. An unreadable event may be of any job."""
        if not self.is_readable:
            return owner_of(self.job_key) == jobs.owner
        return any(
            filter_fields is not None and jobs.matches(filter_fields) for filter_fields in (self.after, self.before)
        )

    @property
    def size(self) -> int:
        """The bytes that the entry holds in memory, except its filter fields."""
        return len(self.message) + len(self.chunks)
