"""The rows that are due, in steps: owners take turns, so that one with very many due rows holds up no other owner's."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.bisection import submit_bisecting
from jobledger_service.core.ledger.commands import Command
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import owner_of

Row = TypeVar("Row", bound=str | ChunkKey)

MANY: Final = 8
"""The rows of a step from which on their owner lets the others go first."""
MAX_PASSED_OVER: Final = 256
"""Owners that a read passes over. When there are more, all are read again."""


class DueRows(Generic[Row]):
    """Does what is due of one kind, with up to `limit` rows read and one command in each step.

    `read` returns the first due rows but for those of some owners: the owners of many rows of the steps before, until
    nothing of others is due.
    """

    def __init__(
        self,
        kernel: Kernel,
        place: str,
        read: Callable[[int, Sequence[str]], Sequence[Row]],
        command: Callable[[Sequence[Row]], Command[int, int]],
        limit: int,
    ) -> None:
        self._kernel = kernel
        self._place = place
        self._read = read
        self._command = command
        self._limit = limit
        self._passed_over: dict[str, None] = {}

    async def do_step(self) -> bool:
        """Do some of what is due; return whether there may be more."""
        kernel = self._kernel
        rows = await kernel.readers.for_server(self._read, self._limit, list(self._passed_over))
        left = await submit_bisecting(
            rows, lambda some: kernel.committer.submit(self._command(some)), self._place, kernel.unreadable
        )
        if len(rows) < self._limit and not left:
            more, self._passed_over = bool(self._passed_over), {}
            return more
        counted = Counter(owner_of(row if isinstance(row, str) else row[0]) for row in rows)
        self._passed_over.update((owner, None) for owner, count in counted.items() if count >= MANY)
        if len(self._passed_over) > MAX_PASSED_OVER:
            self._passed_over = {}
        return True
