"""Looks, by one read, for all that is due, so that the duties rest until there is something for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .ports import Clock
from .queries import Queries
from .read_ports import Due, DueStore


@dataclass(frozen=True, slots=True)
class Lookout:
    """`wakes` says whom to wake, for each thing that may be due. What a duty leaves undone is found again."""

    store: DueStore
    queries: Queries
    clock: Clock
    wakes: Mapping[Due, Callable[[], None]]

    async def once(self) -> bool:
        """Look; there is never more to do at once."""
        for due in await self.queries.run(self.store.due, self.clock()):
            self.wakes[due]()
        return False
