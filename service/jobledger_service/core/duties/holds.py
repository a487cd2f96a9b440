"""Holds whose time has come."""

from typing import Final

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.commands import LiftBackoffs, LiftSchedules
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.due import HOLDS_DUE

ROWS_PER_STEP: Final = 500


def holds(kernel: Kernel) -> Duty:
    """Return the duty that lifts holds; the commands check again that their time has come."""
    store, run, submit = kernel.store, kernel.readers.for_server, kernel.committer.submit

    async def once() -> bool:
        """Lift what is due; return whether there is more."""
        now = kernel.clock()
        backoffs = await run(store.due_backoffs, now, ROWS_PER_STEP)
        await submit_bisecting(backoffs, lambda some: submit(LiftBackoffs(some)), "holds", kernel.unreadable)
        schedules = await run(store.due_schedules, now, ROWS_PER_STEP)
        await submit_bisecting(schedules, lambda some: submit(LiftSchedules(some)), "holds", kernel.unreadable)
        return ROWS_PER_STEP in (len(backoffs), len(schedules))

    return Duty("holds", once, due=HOLDS_DUE)
