"""Finds all due work with one read, and wakes the duties that have some."""

from collections.abc import Mapping
from dataclasses import dataclass

from .duty import Duty
from .ports import Clock
from .queries import Queries
from .read_ports import DueStore


@dataclass(frozen=True, slots=True)
class DueScanner:
    """Wakes `duties`, which are by name. What a duty leaves undone is found again."""

    store: DueStore
    queries: Queries
    clock: Clock
    duties: Mapping[str, Duty]

    async def once(self) -> bool:
        """Check once; return False."""
        for name in await self.queries.run(self.store.due, self.clock()):
            self.duties[name].wake_event.set()
        return False
