"""The form of a command."""

from typing import Protocol, TypeVar

from jobledger_service.ledger.working import Needs, WorkingSet

Decided = TypeVar("Decided")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Command(Protocol[Decided, AnswerT_co]):
    """A request to change the ledger, decided inside a batch.

    `decide` changes the working set, or raises a Refusal and changes nothing; `answer`, called when every command of
    the batch was decided and before anybody hears of it, makes what the caller gets from the rows as they are then.
    """

    @property
    def weight(self) -> int:
        """About how many rows it changes: a batch ends by weight, so that no transaction is long."""
        ...

    def needs(self) -> Needs:
        """Return the rows to load."""
        ...

    def decide(self, work: WorkingSet) -> Decided:
        """Decide over the rows as the commands before left them."""
        ...

    def answer(self, decided: Decided, work: WorkingSet) -> AnswerT_co:
        """Return the caller's answer."""
        ...


class OneJob:
    """A command about one job, that changes a row or a few."""

    __slots__ = ()

    @property
    def weight(self) -> int:
        """About how many rows it changes."""
        return 1
