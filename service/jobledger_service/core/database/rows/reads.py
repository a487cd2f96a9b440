"""What is read from the store: jobs, lists and events."""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.attempts import Attempt
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import Inputs, Outputs, job_id_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import JobState

from .entry import ArtifactsKey

Known = Callable[[Sequence[str], int], Mapping[str, bytes]]
"""Returns those of some jobs that are known as they are at the position of a read, encoded: they are not read."""


class JobRead(MsgStruct, frozen=True):
    """A job as a caller sees it, encoded; inputs and chunks only on request."""

    key: str
    state: JobState
    revision: int
    create_time: Micros
    priority: int
    parked_for: str
    """The limit whose slot it waits for; empty for none."""
    chunk_count: int
    message: bytes
    """The encoded job in view BASIC, without its place."""
    size: int
    """The bytes of its segments and its input, as far as the view shows them, whether they were read or not."""
    output_bytes: int = 0
    """The bytes of its output, whether that was read or not."""
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    chunks: Sequence[Chunk] = ()
    attempts: Sequence[Attempt] = ()
    """The last attempts at its chunks, the newest first."""
    place: int | None = None
    """Its place among the jobs that wait for the same limit, from 1; None when it does not wait."""
    paused: bool = False
    """Whether it has pending chunks, and its kind is paused."""
    chunks_completed: int = 0
    """Its chunks that are COMPLETED: others have no output."""
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

    `known` are those that were not read, encoded. `unreadable` are the keys of existing jobs that cannot be read,
    `unread` those without room in the reply, at most all but one.
    """

    position: int
    jobs: Mapping[str, JobRead]
    unreadable: Collection[str] = ()
    unread: Sequence[str] = ()
    known: Mapping[str, bytes] = {}


def nothing_known(_keys: Sequence[str], _position: int) -> Mapping[str, bytes]:
    """Return no jobs: all are to be read."""
    return {}


class View(StrEnum):
    """How much of a job is read."""

    STATUS = "STATUS"
    BASIC = "BASIC"
    DETAIL = "DETAIL"
    FULL = "FULL"

    @property
    def has_input(self) -> bool:
        """Whether the inputs of jobs are read."""
        return self in (View.DETAIL, View.FULL)


class Order(StrEnum):
    """The order of a list."""

    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    END_TIME = "end_time"
    PRIORITY = "priority"


class PageKey(MsgStruct, frozen=True):
    """A place in a list: the value of its order, then creation, then the key."""

    value: int
    create_time: Micros
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

    `keys` are those of all its jobs, `known` those that were not read, encoded, and `unreadable` those that cannot be
    read. `count` is the number of matching jobs, up to the requested maximum; with `more` there may be more.
    """

    position: int
    keys: Sequence[str]
    jobs: Sequence[JobRead]
    known: Mapping[str, bytes]
    unreadable: Sequence[str]
    next: PageKey | None
    count: int
    more: bool = False


class ChunksRead(MsgStruct, frozen=True):
    """A page of chunks with their inputs and outputs.

    `more` means that others follow `last`, the last index that was read. `unreadable` are the indexes of chunks of the
    page that cannot be read. `paused` means that the kind of their job is; `create_time` is the job's.
    """

    chunks: Sequence[Chunk]
    inputs: Inputs
    outputs: Outputs
    last: int = -1
    more: bool = False
    unreadable: Sequence[int] = ()
    paused: bool = False
    create_time: Micros = Micros(0)


class AttemptPlace(NamedTuple):
    """A place among the attempts of a job."""

    chunk_index: int
    number: int


class AttemptsWanted(MsgStruct, frozen=True):
    """A query for attempts after a place: all of a job, or those of one chunk, or of one task, empty for any."""

    job_key: str
    chunk_index: int | None
    task_id: str
    after: AttemptPlace
    limit: int
    uid: str = ""
    """That of the job that is meant, empty for any."""
    create_time: Micros | None = None
    """That of the job whose earlier pages were read, None for the first page."""


class AttemptsRead(MsgStruct, frozen=True):
    """A page of attempts, by chunk and number; `more` means that others follow `last`, the last one that was read.

    `unreadable` are the indexes of chunks with attempts of the page that cannot be read; `create_time` is the job's.
    """

    attempts: Sequence[Attempt]
    last: AttemptPlace
    more: bool
    unreadable: Sequence[int]
    create_time: Micros = Micros(0)


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
