"""Concurrency limits: LimitService, the slots that come free, and limits that nothing uses any more."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.transport.methods import Calls

from .api import METHODS, LimitService
from .commands import GrantSlots
from .family import Limits
from .store import SLOTS_DUE, VALUES_DUE, LimitStore

JOBS_PER_STEP: Final = 500
VALUES_PER_STEP: Final = 500


def limits(kernel: Kernel) -> Feature:
    """Return what limits add to a server."""
    store = LimitStore(kernel.database)

    async def grant_free_slots() -> bool:
        """Grant slots that a cheap read finds free, if they still are; return whether there may be more."""
        granted = 0

        async def grant(some: Sequence[str]) -> int:
            nonlocal granted
            count, done = await kernel.committer.submit(GrantSlots(some))
            granted += count
            return done

        jobs: Sequence[str] = await kernel.readers.for_server(store.free_slots, JOBS_PER_STEP)
        while jobs:
            jobs = await submit_bisecting(jobs, grant, "slots", kernel.unreadable)
        return granted > 0

    async def spread_numbers() -> bool:
        """Give values of labels the number of a limit for each value that was set; return whether there are more."""
        step = partial(store.spread, VALUES_PER_STEP)
        found = await kernel.committer.run_on_writer(step, VALUES_PER_STEP)
        slots.wake_event.set()
        return found == VALUES_PER_STEP

    slots = Duty("slots", grant_free_slots, due=SLOTS_DUE)
    values = Duty("limit values", spread_numbers, due=VALUES_DUE)

    def on_commit(commit: Commit) -> None:
        if Limits in commit.due:
            slots.wake_event.set()

    return Feature(
        calls=[Calls(METHODS, LimitService(kernel, store))],
        duties=[slots, values, trimming("limit retention", kernel, lambda _, limit: store.trim(limit), kept=0)],
        on_commit=on_commit,
    )
