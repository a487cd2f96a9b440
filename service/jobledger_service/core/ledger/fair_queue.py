"""What waits for the writer: one queue for each owner, served in turn by how much each takes."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct as MsgStruct

from .commands import Command
from .shares import Shares

if TYPE_CHECKING:
    import asyncio

COMMAND_COST: Final = 20
"""What a command costs beside its rows, in rows: 0.2 ms against 0.01 ms a row, on SQLite."""
BYTES_PER_ROW: Final = 2_048
"""Bytes of a request that cost as much as a row."""
TURN_CREDIT: Final = 500
"""What an owner may take in one turn; with a heavier command he passes as many turns as it takes to make up for it."""
RESERVE_DIVISOR: Final = 4
"""How many reports on held leases may wait beyond the bound: the bound divided by this."""


class QueuedWork:
    """Something that waits: a command, or `work` that is a transaction of its own.

    `on_abandoned` is called with the answer when the caller has left. `since` and `deadline` are times.
    """

    __slots__ = (
        "caller",
        "command",
        "cost",
        "deadline",
        "on_abandoned",
        "owner",
        "reserved",
        "rows",
        "since",
        "size",
        "work",
    )  # fmt: skip

    def __init__(
        self,
        caller: "asyncio.Future[Any]",
        owner: str,
        rows: int,
        *,
        reserved: bool = False,
        command: Command[Any, Any] | None = None,
        work: Callable[[], Any] | None = None,
        on_abandoned: Callable[[Any], None] | None = None,
        size: int = 0,
        since: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        self.caller = caller
        self.owner = owner
        self.rows = rows
        self.reserved = reserved
        self.command = command
        self.work = work
        self.on_abandoned = on_abandoned
        self.size = size
        self.since = since
        self.deadline = deadline
        self.cost = cost_of(rows, size)


def cost_of(rows: int, size: int) -> int:
    """Return what something costs that changes so many rows, with a request of so many bytes."""
    return COMMAND_COST + rows + size // BYTES_PER_ROW


class BatchBounds(MsgStruct, frozen=True):
    """How much one batch may be."""

    commands: int
    rows: int
    size: int


class Lane:
    """What waits of one owner: first what has a reserve, then the rest, each in the order in which it came."""

    __slots__ = ("cost", "credit", "ordinary", "reserved")

    def __init__(self) -> None:
        self.reserved: OrderedDict[QueuedWork, None] = OrderedDict()
        self.ordinary: OrderedDict[QueuedWork, None] = OrderedDict()
        self.credit = TURN_CREDIT
        self.cost = 0

    def __len__(self) -> int:
        return len(self.reserved) + len(self.ordinary)

    def first(self) -> QueuedWork:
        """Return what is next."""
        return next(iter(self.reserved or self.ordinary))

    def of(self, one: QueuedWork) -> "OrderedDict[QueuedWork, None]":
        """Return the queue that this belongs to."""
        return self.reserved if one.reserved else self.ordinary

    @property
    def oldest(self) -> float | None:
        """Since when the oldest without a reserve has waited, None when there is none."""
        return next(iter(self.ordinary)).since if self.ordinary else None


class FairQueue:
    """The lanes of all owners, in the order of their turns; every step is O(1) a command.

    Owners take turns as in deficit round robin (Shreedhar and Varghese, 1995). An owner is served while he has credit,
    may go below zero with it, and gets TURN_CREDIT more each time the turn passes him. `size` is the bytes of
    the requests of all that waits, which are bounded where the calls are.
    """

    def __init__(self, max_commands: int, max_rows: int) -> None:
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._commands = Shares(max_commands, max_commands // RESERVE_DIVISOR)
        self._rows = Shares(max_rows)
        self.size = 0

    def __len__(self) -> int:
        return self._commands.total

    @property
    def rows(self) -> int:
        """How many rows, about, all that waits will change."""
        return self._rows.total

    @property
    def owners(self) -> int:
        """How many owners wait."""
        return len(self._lanes)

    def lane(self, owner: str) -> Lane | None:
        """Return what waits of an owner, None when nothing does."""
        return self._lanes.get(owner)

    def bound_reached(self, one: QueuedWork) -> str | None:
        """Return which bound this would pass, `commands` or `rows`; None when there is room.

        An owner of whom nothing waits is not bound in rows, as one command may have more of them than a share; nor is
        what has a reserve.
        """
        owner, reserved = one.owner, one.reserved
        if not self._commands.admits(owner, 1, reserved=reserved):
            return "commands"
        if not reserved and owner in self._lanes and not self._rows.admits(owner, one.rows, reserved=False):
            return "rows"
        return None

    def push(self, one: QueuedWork) -> None:
        """Let this wait, as the last of its owner."""
        lane = self._lanes.get(one.owner)
        if lane is None:
            lane = self._lanes[one.owner] = Lane()
        lane.of(one)[one] = None
        self._count(lane, one)

    def remove(self, one: QueuedWork) -> None:
        """Let this wait no more, and count it no more; nothing happens when it does not wait."""
        lane = self._lanes.get(one.owner)
        if lane is not None and one in lane.of(one):
            self._forget(lane, one)

    def put_back(self, batch: Sequence[QueuedWork]) -> None:
        """Let these, which were taken and not carried out, wait again before all others of their owners, in order."""
        for one in reversed(batch):
            lane = self._lanes.get(one.owner)
            if lane is None:
                lane = self._lanes[one.owner] = Lane()
                self._lanes.move_to_end(one.owner, last=False)
            else:
                lane.credit = min(lane.credit + one.cost, TURN_CREDIT)  # alone he was not charged for all of it
            lane.of(one)[one] = None
            lane.of(one).move_to_end(one, last=False)
            self._count(lane, one)

    def charge(self, owner: str, cost: int) -> None:
        """Take from an owner's credit what he used beyond what was expected of it."""
        lane = self._lanes.get(owner)
        if lane is not None:
            lane.credit -= cost

    def take(self, bounds: BatchBounds) -> list[QueuedWork]:
        """Take what is next, owners in turn: at least one when any waits, then as long as all bounds are kept."""
        return list(self._next(bounds))

    def _next(self, bounds: BatchBounds) -> Iterator[QueuedWork]:
        commands = rows = size = 0
        while self._lanes:
            owner, lane = next(iter(self._lanes.items()))
            if lane.credit <= 0 and len(self._lanes) > 1:
                lane.credit += TURN_CREDIT
                self._lanes.move_to_end(owner)
                continue
            one = lane.first()
            commands, rows, size = commands + 1, rows + one.rows, size + one.size
            if commands > 1 and (commands > bounds.commands or rows > bounds.rows or size > bounds.size):
                return
            lane.credit = max(lane.credit, 0) - one.cost if len(self._lanes) == 1 else lane.credit - one.cost
            self._forget(lane, one)
            yield one

    def _count(self, lane: Lane, one: QueuedWork) -> None:
        lane.cost += one.cost
        self._commands.add(one.owner, 1)
        self._rows.add(one.owner, one.rows)
        self.size += one.size

    def _forget(self, lane: Lane, one: QueuedWork) -> None:
        del lane.of(one)[one]
        lane.cost -= one.cost
        self._commands.remove(one.owner, 1)
        self._rows.remove(one.owner, one.rows)
        self.size -= one.size
        if not lane:
            del self._lanes[one.owner]
