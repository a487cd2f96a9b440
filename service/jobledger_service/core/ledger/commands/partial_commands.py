"""Commands about many jobs and chunks: they do as much as a batch has room for, and leave the rest to later ones."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.working_set import WorkingSet

from .base import AnswerT_co, Command, Decided

Item = TypeVar("Item")
Result = TypeVar("Result")


class PartialResult(MsgStruct, frozen=True):
    """The decision of a command of which a part is done: the command for the rest."""

    rest: Any


class PartialCommand(Command[Decided, AnswerT_co], Generic[Decided, AnswerT_co, Item, Result]):
    """A command that does one thing to each of its items."""

    __slots__ = ()

    items: Sequence[Item]

    @property
    def weight(self) -> int:
        """The number of items."""
        return len(self.items)

    def rows(self, work: WorkingSet) -> int:
        """Return the approximate number of rows that the first item changes."""
        return self.rows_of(work, self.items[0]) if self.items else 0

    def rows_of(self, work: WorkingSet, item: Item) -> int:  # noqa: ARG002  for commands that override it
        """Return the approximate number of rows that an item changes."""
        return 1

    @abstractmethod
    def do(self, work: WorkingSet, item: Item) -> Result:
        """Do what the command does to an item."""

    def do_within_budget(self, work: WorkingSet) -> list[Result]:
        """Do one item after the other, the first always, and return the results of those that fit into the batch.

        What would make the event of a job too large is undone.
        """
        results: list[Result] = []
        begun = work.rows
        for item in self.items:
            savepoint = work.undo.savepoint
            if results and work.rows - begun + self.rows_of(work, item) > work.row_budget:
                break
            results.append(self.do(work, item))
            if work.exceeded and len(results) > 1:
                work.undo.rollback(savepoint)
                results.pop()
                break
        return results
