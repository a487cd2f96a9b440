"""Commands, and commands about many items, which do as many as a batch has room for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from jobledger_service.core.current_call import SERVICE_OWNER
from jobledger_service.core.model.job import FailurePolicy
from jobledger_service.core.model.states import UNFINISHED, ChunkState
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import MAX_BATCH_ROWS, WorkingSet

Decided = TypeVar("Decided")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Command(Generic[Decided, AnswerT_co]):
    """A request to change the ledger, decided inside a batch.

    `decide` changes the working set, or raises and changes nothing. `answer`, called when every command of
    the batch was decided and before any caller is notified, makes the caller's answer from the current rows.
    """

    __slots__ = ()

    reserved: ClassVar[bool] = False
    """Whether it precedes its owner's other commands and is admitted when those are refused.

    Reports on held leases are urgent, as refusing them would lose finished work, and so are the service's own duties.
    """

    @property
    @abstractmethod
    def owner(self) -> str:
        """The owner of the command: owners are served in turn. SERVICE_OWNER for the service itself."""

    @property
    def weight(self) -> int:
        """The approximate number of rows that it changes, before any is loaded."""
        return 1

    def rows(self, _work: WorkingSet, /) -> int:
        """Return the approximate number of rows that it changes, when they are loaded: a batch ends by rows.

        A command that can be done in parts counts those of each item.
        """
        return self.weight

    @abstractmethod
    def needs(self) -> Needs:
        """Return the rows to load."""

    @abstractmethod
    def decide(self, work: WorkingSet) -> Decided | Postponed:
        """Decide over the rows as the earlier commands left them; raises Refusal, Postponed."""

    def answer(self, decided: Decided, _work: WorkingSet, /) -> AnswerT_co:
        """Return the caller's answer: by default the decision."""
        return decided  # type: ignore[return-value] # a command with another answer says how it is made


class ServiceCommand(Command[Decided, AnswerT_co]):
    """A command of a duty, which submits one at a time: it needs no bound."""

    __slots__ = ()

    reserved = True

    @property
    def owner(self) -> str:
        return SERVICE_OWNER


class PartialCommand(Command[Decided, AnswerT_co], Generic[Decided, AnswerT_co, Item, Result]):
    """A command that does one thing to each of its items, and leaves those without room in a batch to later ones."""

    __slots__ = ()

    items: Sequence[Item]

    @property
    def weight(self) -> int:
        """The number of items."""
        return len(self.items)

    def rows(self, _work: WorkingSet, /) -> int:
        """Return 0: each item has its own."""
        return 0

    def rows_of(self, _work: WorkingSet, _item: Item, /) -> int:
        """Return the approximate number of rows that an item changes."""
        return 1

    @abstractmethod
    def do(self, work: WorkingSet, item: Item) -> Result:
        """Do what the command does to an item."""

    @abstractmethod
    def conclude(self, results: list[Result], work: WorkingSet) -> Decided | Postponed:
        """Return the decision from the results of the first items: of all, or as many as fit into the batch."""

    def decide(self, work: WorkingSet) -> Decided | Postponed:
        """Do one item after the other, as long as they fit into the batch; one larger than a batch is done alone."""
        results: list[Result] = []
        begun = work.rows
        for item in self.items:
            rows, savepoint = self.rows_of(work, item), work.undo.savepoint
            if results and work.rows - begun + rows > MAX_BATCH_ROWS:
                break
            try:
                work.begin(rows)
                results.append(self.do(work, item))
            except Postponed:
                if not results:
                    raise
                work.undo.rollback(savepoint)
                break
        return self.conclude(results, work)


def chunks_in(work: WorkingSet, job_key: str, *states: ChunkState) -> int:
    """Return the number of chunks of a loaded job in these states; 0 for a job that does not exist."""
    job = work.find(job_key)
    return 0 if job is None else sum(job.counts.of(state) for state in states)


def deleted_rows(work: WorkingSet, job_key: str) -> int:
    """Return about how many rows the deletion of a loaded job changes."""
    job = work.find(job_key)
    return 1 if job is None else 1 + job.counts.total + job.kept_attempts


def ended_rows(work: WorkingSet, job_key: str) -> int:
    """Return about how many rows a failed attempt at a chunk may change: with FAIL_FAST it may stop all others."""
    job = work.find(job_key)
    fails_fast = job is not None and job.spec.failure_policy is FailurePolicy.FAIL_FAST
    return 1 + chunks_in(work, job_key, *UNFINISHED) if fails_fast else 1
