"""One entry of the ledger: all that one commit changed on one job."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.filters.filter import FilterFields, JobFilter
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.micros import Micros

JOB_ITSELF: Final = -1
"""Stands for the index of a chunk where artifacts are those of the job itself."""


class JobSegments(NamedTuple):
    """A job as three encoded messages: what only UpdateJob changes, its artifacts, and what moves.

    Joined in any order they are the message of the job: encoded messages concatenate.
    """

    fixed: bytes
    artifacts: bytes
    moving: bytes

    @property
    def joined(self) -> bytes:
        """The encoded job."""
        return b"".join(self)


class Positions(NamedTuple):
    """The positions of one commit, from `first` on; later positions never have earlier times."""

    first: int
    commit_time: Micros


class ArtifactsKey(NamedTuple):
    """A version of the artifacts of a job, or of one of its chunks: from the job's revision on that brought it."""

    job_key: str
    uid: bytes
    chunk_index: int
    revision: int


class Entry(MsgStruct, frozen=True):
    """An entry with its place and its encoded message; fields are None before its creation and after its deletion.

    `stored` is the message as it is stored, which refers to its artifacts; `parts` make it whole, none when it is.
    `event` is its event until the position is known, which is then added with it.
    `artifacts` are those among the parts, by version, so that entries which have a version in common keep it once.
    `chunks` are the parts with the changed chunks, so that messages can be merged without decoding them; one that was
    read without artifacts has none.
    A stored event that cannot be read is empty and has no filter fields. `ready` counts the chunks that now wait for
    workers; it is known for entries of other processes. `previous` shows the whole job before, without its artifacts,
    when the event with that state may soon be trimmed; it is not read back. `statuses` has the message in view STATUS,
    once a watcher needs it.
    """

    position: int
    job_key: str
    revision: int
    before: FilterFields | None
    after: FilterFields | None
    ended: bool
    stored: bytes
    event: bytes = b""
    parts: Sequence[bytes] = ()
    artifacts: Mapping[ArtifactsKey, bytes] = {}
    chunks: Sequence[bytes] = ()
    chunk_count: int = 0
    previous: bytes | None = None
    ready: int = 0
    changes: frozenset[ChangeType] = frozenset()
    statuses: list[bytes] = []

    @property
    def message(self) -> bytes:
        """The whole watch message."""
        return b"".join(self.parts) if self.parts else self.stored

    @property
    def is_readable(self) -> bool:
        """Whether the stored event could be read."""
        return bool(self.stored)

    @property
    def without_content(self) -> "Entry":
        """The entry without its message and fields, for those that need only its place and its job."""
        return Entry(self.position, self.job_key, self.revision, None, None, self.ended, self.stored[:1])

    def concerns(self, jobs: JobFilter) -> bool:
        """Whether the job matched before the change, or matches after it. An unreadable event may be of any job."""
        if not self.is_readable:
            return jobs.all_owners or owner_of(self.job_key) == jobs.owner
        after, before = self.after, self.before
        return (after is not None and jobs.matches(after)) or (before is not None and jobs.matches(before))

    @property
    def size(self) -> int:
        """The bytes of the entry, except its filter fields."""
        return (sum(map(len, self.parts)) or len(self.stored)) + sum(map(len, self.chunks))

    @property
    def own_size(self) -> int:
        """The bytes of the entry without its artifacts."""
        shared = set(map(id, self.artifacts.values()))
        return len(self.stored) + sum(len(part) for part in self.chunks if id(part) not in shared)
