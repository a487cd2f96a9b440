"""Finds all due work with one read, and wakes the duties that have some."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .ports import Clock
from .queries import Queries
from .read_ports import Due, DueStore


@dataclass(frozen=True, slots=True)
class DueScanner:
    """`wakes` has the events to set for each kind of due work. Work that a duty leaves undone is found again."""

    store: DueStore
    queries: Queries
    clock: Clock
    wakes: Mapping[Due, Callable[[], None]]

    async def once(self) -> bool:
        """Check once; return False."""
        for due in await self.queries.run(self.store.due, self.clock()):
            self.wakes[due]()
        return False
