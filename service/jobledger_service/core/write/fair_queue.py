"""The queue of the writer: one lane for each owner, served in turn by cost; who would wait too long is refused.

It has turns of its own, because a turn is a cost, not an item: of one command's rows, which are known in part when it
is done, and given back when it is postponed.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.refusals.limit_errors import QueueFull
from jobledger_service.sharing.shares import Shares

from .commands import Command

if TYPE_CHECKING:
    import asyncio

COMMAND_COST: Final = 20
"""The cost of a command beside its rows, in rows: 0.2 ms against 0.01 ms a row, on SQLite."""
BYTES_PER_ROW: Final = 2_048
"""The bytes of a request that cost as much as a row."""
TURN_CREDIT: Final = 500
"""The cost that an owner may use in one turn; after a heavier command the owner skips turns to make up for it."""
RESERVE_DIVISOR: Final = 4
"""The reserve of reports on held leases beyond the bound: the bound divided by this."""
INITIAL_ROWS_PER_SECOND: Final = 50_000.0
"""The initial pace in rows a second, until it is measured."""
NEWEST_WEIGHT: Final = 0.2
"""The weight of the newest batch in the measured pace."""
MIN_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 10.0
"""The delay in seconds that refused callers are given."""


@dataclass(slots=True, eq=False)
class QueuedWork:
    """A waiting item: a command, or `work` that is a transaction of its own.

    `on_abandoned` is called with the answer when the caller has left. `since` and `deadline` are times.
    """

    caller: "asyncio.Future[Any]"
    owner: str
    rows: int
    reserved: bool = False
    command: Command[Any, Any] | None = None
    work: Callable[[], Any] | None = None
    on_abandoned: Callable[[Any], None] | None = None
    size: int = 0
    since: float = 0.0
    deadline: float | None = None
    cost: int = field(init=False)

    def __post_init__(self) -> None:
        self.cost = cost_of(self.rows, self.size)


def cost_of(rows: int, size: int) -> int:
    """Return the cost of changing this many rows, with a request of this many bytes."""
    return COMMAND_COST + rows + size // BYTES_PER_ROW


class BatchBounds(MsgStruct, frozen=True):
    """The bounds of one batch."""

    commands: int
    rows: int
    size: int


class Lane:
    """The waiting items of one owner: first those with a reserve, then the rest, each in the order of arrival."""

    __slots__ = ("cost", "credit", "ordinary", "reserved")

    def __init__(self) -> None:
        self.reserved: OrderedDict[QueuedWork, None] = OrderedDict()
        self.ordinary: OrderedDict[QueuedWork, None] = OrderedDict()
        self.credit = TURN_CREDIT
        self.cost = 0

    def __len__(self) -> int:
        return len(self.reserved) + len(self.ordinary)

    @property
    def oldest(self) -> float | None:
        """The start of the oldest wait without a reserve, None when there is none."""
        return next(iter(self.ordinary)).since if self.ordinary else None


class FairQueue:
    """The lanes of all owners, in the order of their turns; every step is O(1) a command.

    Owners take turns as in deficit round robin (Shreedhar and Varghese, 1995). An owner is served while it has credit,
    may go below zero, and gets TURN_CREDIT more each time the turn passes it. `rows` is approximately how many rows all
    waiting items will change, `size` the bytes of their requests, which are bounded where the calls are.
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
        """How many rows the waiting items change."""
        return self._rows.total

    @property
    def owners(self) -> int:
        """The number of owners with waiting items."""
        return len(self._lanes)

    def lane(self, owner: str) -> Lane | None:
        """Return an owner's lane, None when nothing of it waits."""
        return self._lanes.get(owner)

    def bound_reached(self, item: QueuedWork) -> str | None:
        """Return the bound that this would pass, `commands` or `rows`; None when there is room.

        An owner without waiting items is not bound in rows, as one command may have more of them than a share; nor are
        items with a reserve.
        """
        owner, reserved = item.owner, item.reserved
        if not self._commands.has_room(owner, 1, reserved=reserved):
            return "commands"
        if owner in self._lanes and not reserved and not self._rows.has_room(owner, item.rows):
            return "rows"
        return None

    def push(self, item: QueuedWork) -> None:
        """Add this as the last item of its owner."""
        lane = self._lanes.get(item.owner)
        if lane is None:
            lane = self._lanes[item.owner] = Lane()
        self._add(lane, item)

    def remove(self, item: QueuedWork) -> None:
        """Remove this item; does nothing when it does not wait."""
        lane = self._lanes.get(item.owner)
        if lane is not None and (item in lane.reserved or item in lane.ordinary):
            self._drop(lane, item)

    def put_back(self, batch: Sequence[QueuedWork]) -> None:
        """Put these items, which were taken and not carried out, back before all others of their owners, in order."""
        for item in reversed(batch):
            lane = self._lanes.get(item.owner)
            if lane is None:
                lane = self._lanes[item.owner] = Lane()
                self._lanes.move_to_end(item.owner, last=False)
            else:
                lane.credit = min(lane.credit + item.cost, TURN_CREDIT)  # alone the owner was not charged for all of it
            self._add(lane, item).move_to_end(item, last=False)

    def charge(self, owner: str, cost: int) -> None:
        """Subtract from an owner's credit what it used beyond the expected cost."""
        lane = self._lanes.get(owner)
        if lane is not None:
            lane.credit -= cost

    def take(self, bounds: BatchBounds) -> list[QueuedWork]:
        """Take the next items, owners in turn: at least one when any waits, then as long as all bounds are kept."""
        taken: list[QueuedWork] = []
        rows = size = 0
        while self._lanes:
            owner, lane = next(iter(self._lanes.items()))
            if lane.credit <= 0 and len(self._lanes) > 1:
                lane.credit += TURN_CREDIT
                self._lanes.move_to_end(owner)
                continue
            item = next(iter(lane.reserved or lane.ordinary))
            rows, size = rows + item.rows, size + item.size
            if taken and (len(taken) >= bounds.commands or rows > bounds.rows or size > bounds.size):
                break
            lane.credit = max(lane.credit, 0) - item.cost if len(self._lanes) == 1 else lane.credit - item.cost
            self._drop(lane, item)
            taken.append(item)
        return taken

    def _add(self, lane: Lane, item: QueuedWork) -> "OrderedDict[QueuedWork, None]":
        items = lane.reserved if item.reserved else lane.ordinary
        items[item] = None
        lane.cost += item.cost
        self._commands.add(item.owner, 1)
        self._rows.add(item.owner, item.rows)
        self.size += item.size
        return items

    def _drop(self, lane: Lane, item: QueuedWork) -> None:
        del (lane.reserved if item.reserved else lane.ordinary)[item]
        lane.cost -= item.cost
        self._commands.remove(item.owner, 1)
        self._rows.remove(item.owner, item.rows)
        self.size -= item.size
        if not lane:
            del self._lanes[item.owner]


class Throughput:
    """The cost that the writer carries out in a second, as a moving mean.

    A slow batch that took all waiting work says little, as most of its time may be the commit itself: it counts only
    when it is faster than the mean.
    """

    def __init__(self) -> None:
        self.rows_per_second = INITIAL_ROWS_PER_SECOND

    def record(self, cost: int, seconds: float, *, more_waited: bool) -> None:
        """Record a batch."""
        seen = cost / max(seconds, 1e-6)
        if more_waited or seen > self.rows_per_second:
            self.rows_per_second += NEWEST_WEIGHT * (seen - self.rows_per_second)


class Admission:
    """Decides whether a command may wait in the queue; it must start within `max_wait` seconds."""

    def __init__(self, queue: FairQueue, throughput: Throughput, max_wait: float) -> None:
        self._queue = queue
        self._throughput = throughput
        self._max_wait = max_wait

    def check(self, item: QueuedWork) -> None:
        """Raise QueueFull when this command may not wait."""
        bound = self._queue.bound_reached(item)
        if bound is not None:
            raise QueueFull(bound, self._retry_after(item.owner))
        if not item.reserved:
            self.check_owner(item.owner, item.since, item.cost)

    def check_owner(self, owner: str, now: float, cost: int = cost_of(0, 0)) -> None:
        """Raise QueueFull when the owner's oldest has waited too long, or too much of the owner waits.

        An owner without waiting work is admitted, whatever the cost.
        """
        lane = self._queue.lane(owner)
        if lane is None or lane.oldest is None:
            return
        if now - lane.oldest > self._max_wait:
            raise QueueFull("age", self._retry_after(owner))
        if lane.cost + cost > self._throughput.rows_per_second * self._max_wait / self._queue.owners:
            raise QueueFull("share", self._retry_after(owner))

    def _retry_after(self, owner: str) -> int:
        """Return in how many microseconds an owner's waiting work may be done."""
        lane = self._queue.lane(owner)
        cost = lane.cost if lane is not None else 0
        seconds = cost * max(self._queue.owners, 1) / self._throughput.rows_per_second
        return round(min(max(seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS) * SECOND)
