"""Finds with one read everything that is due, and wakes the duties that have work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .ports import Clock
from .queries import Queries
from .read_ports import Due, DueStore


@dataclass(frozen=True, slots=True)
class DueScanner:
    """`wakes` says whom to wake, for each thing that may be due. What a duty leaves undone is found again."""

    store: DueStore
    queries: Queries
    clock: Clock
    wakes: Mapping[Due, Callable[[], None]]

    async def once(self) -> bool:
        """Check once; return False."""
        for due in await self.queries.run(self.store.due, self.clock()):
            self.wakes[due]()
        return False
