"""Holds whose time has come."""

from typing import Final

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.commands import LiftBackoffs, LiftSchedules
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.due import HOLDS_DUE

from .due_rows import DueRows

ROWS_PER_STEP: Final = 500


def holds(kernel: Kernel) -> Duty:
    """Return the duty that lifts holds; the commands check again that their time has come."""
    store, clock = kernel.store, kernel.clock
    backoffs = DueRows(
        kernel, "holds", lambda limit, but: store.due_backoffs(clock(), limit, but), LiftBackoffs, ROWS_PER_STEP
    )
    schedules = DueRows(
        kernel, "holds", lambda limit, but: store.due_schedules(clock(), limit, but), LiftSchedules, ROWS_PER_STEP
    )

    async def once() -> bool:
        """Lift what is due; return whether there may be more."""
        more = await backoffs.do_step()
        return await schedules.do_step() or more

    return Duty("holds", once, due=HOLDS_DUE)
