"""The form of a command."""

from typing import Protocol, TypeVar

from jobledger_service.ledger.incoming import SERVICE
from jobledger_service.ledger.working import Needs, WorkingSet

Decided = TypeVar("Decided")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Command(Protocol[Decided, AnswerT_co]):
    """A request to change the ledger, decided inside a batch.

    `decide` changes the working set, or raises a Refusal and changes nothing; `answer`, called when every command of
    the batch was decided and before anybody hears of it, makes what the caller gets from the rows as they are then.
    """

    @property
    def owner(self) -> str:
        """Whose command it is: owners are served in turn. SERVICE for what is nobody's in particular."""
        ...

    @property
    def reserved(self) -> bool:
        """Whether it goes before its owner's other commands and is let in when those are refused.

        So do reports on held leases, which would lose work that was done, and the service's own duties.
        """
        ...

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


class Ordinary:
    """A command that waits for its turn, and is refused when too much of its owner waits."""

    __slots__ = ()

    @property
    def reserved(self) -> bool:
        """Whether it goes before its owner's other commands and is let in when those are refused."""
        return False


class Reserved:
    """A command that goes before its owner's others, and has a reserve of admission."""

    __slots__ = ()

    @property
    def reserved(self) -> bool:
        """Whether it goes before its owner's other commands and is let in when those are refused."""
        return True


class OfService(Reserved):
    """A command of a duty, which submits one at a time: it needs no bound."""

    __slots__ = ()

    @property
    def owner(self) -> str:
        """Nobody in particular."""
        return SERVICE


class OneJob(Ordinary):
    """A command about one job, that changes a row or a few."""

    __slots__ = ()

    @property
    def weight(self) -> int:
        """About how many rows it changes."""
        return 1
