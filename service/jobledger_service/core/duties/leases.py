"""Expired leases, and jobs whose deadline has come."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.commands import Command, EndOverdue, ExpireLeases
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.due import LEASES_DUE

Row = TypeVar("Row")

ROWS_PER_STEP: Final = 500


def leases(kernel: Kernel, delay: int) -> Duty:
    """Return the duty that finds due work with a cheap read; the command checks it again before it changes anything.

    A lease expires, and a run times out, `delay` microseconds after its end: earlier reports are applied by then.
    """
    store, run = kernel.store, kernel.readers.for_server

    async def each(rows: Sequence[Row], command: Callable[[Sequence[Row]], Command[int, int]]) -> None:
        await submit_bisecting(rows, lambda some: kernel.committer.submit(command(some)), "leases", kernel.unreadable)

    async def once() -> bool:
        """Do what is due; return whether there is more."""
        now = kernel.clock()
        expired = await run(store.expired_leases, now - delay, ROWS_PER_STEP)
        await each(expired, lambda keys: ExpireLeases([(key, kernel.sample_jitter()) for key in keys], delay))
        overdue = await run(store.overdue_jobs, now, now - delay, ROWS_PER_STEP)
        await each(overdue, lambda keys: EndOverdue(keys, delay))
        return ROWS_PER_STEP in (len(expired), len(overdue))

    return Duty("leases", once, due=LEASES_DUE)
