"""Admission: work that would wait too long is refused at once, by its owner's waiting time and amount."""

from typing import Final

from jobledger_service.core.model.limit_errors import QueueFull
from jobledger_service.core.model.limits import SECOND

from .fair_queue import FairQueue, QueuedWork, cost_of

INITIAL_ROWS_PER_SECOND: Final = 50_000.0
"""The initial pace in rows a second, until it is measured."""
NEWEST_WEIGHT: Final = 0.2
"""The weight of the newest batch in the measured pace."""
MIN_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 10.0
"""The delay in seconds that refused callers are given."""


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

    def check(self, one: QueuedWork) -> None:
        """Raise QueueFull when this command may not wait."""
        bound = self._queue.bound_reached(one)
        if bound is not None:
            raise QueueFull(bound, self._retry_after(one.owner))
        if not one.reserved:
            self.check_owner(one.owner, one.since, one.cost)

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
