"""Holds whose time has come."""

from typing import Final

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.commands import LiftBackoffs
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.due import HOLDS_DUE

ROWS_PER_STEP: Final = 500


def holds(kernel: Kernel) -> Duty:
    """Return the duty that lifts holds; the command checks again that their time has come."""

    async def once() -> bool:
        """Lift what is due; return whether there is more."""
        backoffs = await kernel.readers.for_server(kernel.store.due_backoffs, kernel.clock(), ROWS_PER_STEP)
        await submit_bisecting(
            backoffs, lambda some: kernel.committer.submit(LiftBackoffs(some)), "holds", kernel.unreadable
        )
        return len(backoffs) == ROWS_PER_STEP

    return Duty("holds", once, due=HOLDS_DUE)
