"""Concurrency limits: LimitService, and the slots that come free."""

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.due import SLOTS_DUE
from jobledger_service.transport.methods import Calls

from .api import METHODS, LimitService
from .duty import SlotDuty
from .family import Limits
from .store import LimitStore


def limits(kernel: Kernel) -> Feature:
    """Return what limits add to a server."""
    store = LimitStore(kernel.database)
    slots = SlotDuty(store, kernel.queries, kernel.committer, kernel.unreadable)
    duty = Duty("slots", slots.once, due=SLOTS_DUE)

    def on_commit(commit: Commit) -> None:
        if Limits in commit.due:
            duty.wake_event.set()

    return Feature(
        calls=[Calls(METHODS, LimitService(kernel.committer, kernel.queries, store))],
        duties=[duty],
        on_commit=on_commit,
    )
