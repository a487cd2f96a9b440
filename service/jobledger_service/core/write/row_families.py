"""Rows that a batch reads and writes beside those of jobs and chunks, and the order in which it locks them.

A batch locks the rows of jobs by key, then those of families by rank and, within each, by key, and last the ledger's
counter row (docs/adr/0033-bounds-and-one-order-of-locks.md).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.lifecycle import NewJob

from .batch_changes import BatchChanges
from .picking import ClaimQuery
from .undo import Undo
from .writing import Transaction

if TYPE_CHECKING:
    from .working_set import WorkingSet


class Needs(MsgStruct, frozen=True):
    """The rows that a command needs loaded before it is decided."""

    jobs: tuple[str, ...] = ()
    chunks: tuple[ChunkKey, ...] = ()
    claim_query: ClaimQuery | None = None
    rows: "Mapping[type[RowFamily], Sequence[str]]" = {}
    """Keys of rows of families."""
    new_jobs: Sequence[NewJob] = ()
    """Jobs that it may create."""
    requeues: bool = False
    """Whether its jobs may begin to wait for workers again."""
    new_labels: Mapping[str, str] = {}
    """Labels that its jobs may get before that."""
    starts: bool = False
    """Whether it may claim the first chunk of a job."""
    storing: Sequence[str] = ()
    """The keys of jobs that may get artifacts, also of jobs that it may create."""

    @classmethod
    def of_all(cls, needs: "Sequence[Needs]") -> "Needs":
        """Return the jobs, rows and new jobs that several commands need together."""
        families = {family for need in needs for family in need.rows}
        return cls(
            jobs=tuple(key for need in needs for key in need.jobs),
            rows={family: [*keys_of(family, needs)] for family in families},
            new_jobs=[new for need in needs for new in need.new_jobs],
        )


class RowFamily:
    """The rows of one family in one batch: a Guard, or a Projection."""

    rank: ClassVar[int]
    """Where its locks come among those of families; each has a rank of its own."""


class Guard(RowFamily):
    """Rows over which commands are decided: they may refuse or postpone a command, or change the job that it leaves.

    What a command changes is changed through `undo`, and so can be undone.
    """

    is_due: bool = False
    """Whether its feature has work after the commit; known when the family is saved."""

    def add_needs(self, needs: list[Needs]) -> None:
        """Append more jobs and chunks that its rows lead to. Nothing is locked yet, and this locks nothing."""

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job], /) -> None:
        """Lock and load rows, in the order of their keys; `jobs` are those of the batch, which are locked."""

    def changed(self, _before: Job | None, after: Job, /) -> Job:
        """Return a job as it is to be kept; `before` is None when a command creates it.

        It is called when a job is new, or its state, its slots, what it waits for or its artifacts' bytes changed.
        """
        return after

    def starting(self, job: Job) -> Job:
        """Return a job of which the first chunk is about to be claimed, parked when it has to wait for a slot."""
        return job

    def with_slots(self, job: Job) -> Job:
        """Return a job that waits for a slot with its slots if they are free now, or as it then waits."""
        return job

    def deleted(self, job: Job) -> None:
        """React to the deletion of a job."""

    def save(self) -> None:
        """Write what the commands changed, in the order of keys."""


class Projection(RowFamily):
    """Rows that are derived from what the batch did; no command is refused or postponed for them."""

    @abstractmethod
    def save(self, changes: BatchChanges) -> None:
        """Write the rows that follow from the batch's changes, in the order of keys."""


class ArtifactRemover(Projection):
    """The projection that has the artifacts of deleted jobs deleted."""

    @abstractmethod
    def begin(self, work: "WorkingSet", deleted: Sequence[Job], actor: str) -> str | None:
        """Create the job that deletes the artifacts of jobs of one owner that this batch has deleted, for an actor.

        Return its key, None when there are no artifacts. It lists none: that job does, a few at a time.
        """


OpenFamily = Callable[[Transaction, Undo], RowFamily]
"""Makes a family for one batch."""


def open_families(families: Iterable[OpenFamily], transaction: Transaction, undo: Undo) -> list[RowFamily]:
    """Return the families of one batch in the order of their ranks, in which they lock."""
    opened = sorted((open_family(transaction, undo) for open_family in families), key=lambda family: family.rank)
    ranks = [family.rank for family in opened]
    assert len({*ranks}) == len(ranks), f"two families have the same rank: {opened}"  # noqa: S101  of the assembly
    return opened


def keys_of(family: type[RowFamily], needs: Iterable[Needs]) -> set[str]:
    """Return the keys that commands name of a family."""
    return {key for need in needs for key in need.rows.get(family, ())}
