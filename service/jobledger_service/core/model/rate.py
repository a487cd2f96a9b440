"""How fast a job goes: an exponentially weighted mean of its recent steps."""

import math
from typing import Final

from msgspec import Struct as MsgStruct

from .limits import MAX_TIME, SECOND

TIME_CONSTANT: Final = 30 * SECOND
KNOWN_AFTER: Final = 1 * SECOND
"""Before a run is this old, its rate is noise."""


class Rate(MsgStruct, frozen=True):
    """Recent items and work for each second, as of `at`, in a run that began at `since` (microseconds).

    Each step of size d adds d/τ, and everything decays with e^(-t/τ). Dividing by 1 - e^(-age/τ) takes away the bias of
    a young run, so that a constant rate is estimated exactly from the start.
    """

    since: int
    at: int
    items: float = 0.0
    work: float = 0.0

    def step(self, now: int, items: int, work: int) -> "Rate":
        """Return the rate after `items` and `work` more were done at `now`."""
        now = max(now, self.at)
        decay = math.exp((self.at - now) / TIME_CONSTANT)
        scale = SECOND / TIME_CONSTANT
        return Rate(self.since, now, self.items * decay + items * scale, self.work * decay + work * scale)

    @property
    def items_per_second(self) -> float | None:
        """Items a second; None while unknown."""
        return self._unbiased(self.items)

    @property
    def work_per_second(self) -> float | None:
        """Units of work a second; None while unknown."""
        return self._unbiased(self.work)

    def end_of(self, work: int) -> int | None:
        """Return when so much work will be done; None while unknown, and after the year 9999."""
        speed = self.work_per_second
        if not speed:
            return None
        end = self.at + work / speed * SECOND
        return round(end) if end <= MAX_TIME else None

    def _unbiased(self, mean: float) -> float | None:
        age = self.at - self.since
        if age < KNOWN_AFTER or mean <= 0:
            return None
        return mean / -math.expm1(-age / TIME_CONSTANT)
