"""Whose chunks a worker gets that serves many owners: within a priority, owners take turns.

These turns are their own, because the owners wait in the database, and a statement finds the next ones by name.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.owners import Owners

from .ready_owners import ReadyOwner, ReadyOwnersQuery

MAX_TURNS: Final = 32
"""Owners whose chunks the claims of one batch get that serve the same owners and kinds."""
MAX_FLEETS: Final = 1_000
"""The sets of owners and kinds of which the last turns are remembered: those that claimed last."""
SPARE_TURNS: Final = 8
"""Owners to look for beyond those needed, where other replicas may hold the jobs of some."""

Fleet = tuple[Owners, tuple[str, ...]]
"""The owners and the kinds of a claim."""
FindReady = Callable[[ReadyOwnersQuery], Sequence[ReadyOwner]]


class FleetQueues(MsgStruct):
    """The queues that some claims may take from, and the order of their owners, by priority.

    `last` is the owner who had the last turn, by priority; it changes with each turn.
    """

    queues: Sequence[Queue]
    order: Mapping[tuple[int, str], int] = {}
    last: dict[int, str] = {}

    def place(self, priority: int, owner: str) -> int:
        """Return the place of an owner in the order; an unknown owner comes last."""
        return self.order.get((priority, owner), len(self.order))

    def record(self, priority: int, owner: str) -> None:
        """Record that an owner had a turn."""
        if (priority, owner) in self.order:
            self.last[priority] = owner


class FleetTurns:
    """The last turns of one process, which each process takes by itself."""

    def __init__(self) -> None:
        self._last: OrderedDict[int, dict[int, str]] = OrderedDict()

    def find(self, claims: Iterable[tuple[Fleet, int]], find: FindReady, *, shared: bool) -> dict[Fleet, FleetQueues]:
        """Return the queues for claims, each with its number of chunks; the claims of a fleet share one query."""
        limits: dict[Fleet, int] = {}
        for fleet, limit in claims:
            limits[fleet] = limits.get(fleet, 0) + limit
        return {fleet: self._turns(fleet, limit, find, shared=shared) for fleet, limit in limits.items()}

    def _turns(self, fleet: Fleet, limit: int, find: FindReady, *, shared: bool) -> FleetQueues:
        last = self._last_turns(fleet)
        enough = min(limit, MAX_TURNS)
        max_owners = min(limit + SPARE_TURNS, MAX_TURNS) if shared else enough
        ready_owners = find(ReadyOwnersQuery(*fleet, enough, max_owners, last))
        queues = dict.fromkeys((ready.owner, ready.kind) for ready in ready_owners)
        places = dict.fromkeys((ready.priority, ready.owner) for ready in ready_owners)
        return FleetQueues([*queues], {place: number for number, place in enumerate(places)}, last)

    def _last_turns(self, fleet: Fleet) -> dict[int, str]:
        number = hash(fleet)  # 64 bits: small, and two fleets that share one would share their turns
        last = self._last.setdefault(number, {})
        self._last.move_to_end(number)
        if len(self._last) > MAX_FLEETS:
            self._last.popitem(last=False)
        return last
