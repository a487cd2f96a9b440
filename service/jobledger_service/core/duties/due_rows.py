"""Rows that are due: leases and runs that ended, holds whose time has come.

They are handled in steps, and owners take turns, so that an owner with many due rows does not delay the others.

These turns are their own, because the rows wait in the database, and no owner is known before the read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

from jobledger_service.core.database.clock import Clock
from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.read.due import HOLDS_DUE, LEASES_DUE
from jobledger_service.core.write.commands import Command, EndOverdue, ExpireLeases, LiftBackoffs, LiftSchedules

from .failing_rows import submit_rows

Row = TypeVar("Row", bound=str | ChunkKey)

ROWS_PER_STEP: Final = 500
MANY: Final = 8
"""Rows of one owner in a step; an owner with as many is skipped until the others are served."""
MAX_PASSED_OVER: Final = 256
"""Owners that a read skips. When there are more, all are read again."""


class DueRows(Generic[Row]):
    """Handles due rows of one kind: each step reads up to `limit` rows and submits one command.

    `read` returns the first rows that are due at a time, in microseconds, without those of some owners: those who had
    many rows in earlier steps, until nothing of others is due. The command checks again what is due. `clock` is the
    ledger's unless another is given.
    """

    def __init__(
        self,
        kernel: Kernel,
        place: str,
        read: Callable[[Micros, int, Sequence[str]], Sequence[Row]],
        command: Callable[[Sequence[Row]], Command[int, int]],
        limit: int = ROWS_PER_STEP,
        clock: Clock | None = None,
    ) -> None:
        self._kernel = kernel
        self._place = place
        self._read = read
        self._command = command
        self._limit = limit
        self._clock = clock or kernel.clock
        self._passed_over: dict[str, None] = {}

    async def do_step(self) -> bool:
        """Handle some due rows; return whether there may be more."""
        kernel = self._kernel
        but = list(self._passed_over)
        rows = await kernel.readers.for_server(self._read, self._clock(), self._limit, but)
        rest = await submit_rows(
            rows, lambda part: kernel.committer.submit(self._command(part)), self._place, kernel.unreadable
        )
        if len(rows) < self._limit and not rest:
            more, self._passed_over = bool(self._passed_over), {}
            return more
        counted = Counter(owner_of(row if isinstance(row, str) else row[0]) for row in rows)
        self._passed_over.update((owner, None) for owner, count in counted.items() if count >= MANY)
        if len(self._passed_over) > MAX_PASSED_OVER:
            self._passed_over = {}
        return True


def holds(kernel: Kernel) -> Duty:
    """Return the duty that lifts holds."""
    backoffs = DueRows(kernel, "holds", kernel.store.due_backoffs, LiftBackoffs)
    schedules = DueRows(kernel, "holds", kernel.store.due_schedules, LiftSchedules, clock=kernel.clock.calendar)
    return Duty("holds", partial(_do_steps, backoffs, schedules), due=HOLDS_DUE)


def leases(kernel: Kernel, delay: int) -> Duty:
    """Return the duty that expires leases and ends runs that are overdue.

    A lease expires, and a run times out, `delay` microseconds after its end: earlier reports are applied by then.
    """
    store = kernel.store

    def expire(keys: Sequence[ChunkKey]) -> ExpireLeases:
        return ExpireLeases([(key, kernel.sample_jitter()) for key in keys], delay)

    expired = DueRows(kernel, "leases", lambda now, *which: store.expired_leases(now - delay, *which), expire)
    overdue = DueRows(
        kernel,
        "leases",
        lambda now, *which: store.overdue_jobs(now, now - delay, *which),
        lambda keys: EndOverdue(keys, delay),
    )
    return Duty("leases", partial(_do_steps, expired, overdue), due=LEASES_DUE)


async def _do_steps(*due: DueRows[Any]) -> bool:
    """Do a step of each; return whether there may be more."""
    return any([await rows.do_step() for rows in due])
