"""Expired leases, and jobs whose deadline has come."""

from collections.abc import Sequence
from typing import Final

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.commands import EndOverdue, ExpireLeases
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.store.due import LEASES_DUE

from .due_rows import DueRows

ROWS_PER_STEP: Final = 500


def leases(kernel: Kernel, delay: int) -> Duty:
    """Return the duty that finds due work with a cheap read; the command checks it again before it changes anything.

    A lease expires, and a run times out, `delay` microseconds after its end: earlier reports are applied by then.
    """
    store, clock = kernel.store, kernel.clock

    def expire(keys: Sequence[ChunkKey]) -> ExpireLeases:
        return ExpireLeases([(key, kernel.sample_jitter()) for key in keys], delay)

    def read_overdue(limit: int, but: Sequence[str]) -> Sequence[str]:
        now = clock()
        return store.overdue_jobs(now, now - delay, limit, but)

    expired = DueRows(
        kernel, "leases", lambda limit, but: store.expired_leases(clock() - delay, limit, but), expire, ROWS_PER_STEP
    )
    overdue = DueRows(kernel, "leases", read_overdue, lambda keys: EndOverdue(keys, delay), ROWS_PER_STEP)

    async def once() -> bool:
        """Do what is due; return whether there may be more."""
        more = await expired.do_step()
        return await overdue.do_step() or more

    return Duty("leases", once, due=LEASES_DUE)
