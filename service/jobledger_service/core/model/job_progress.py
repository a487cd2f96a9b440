"""The progress of a job: sums over its chunks, and its rate, an exponentially weighted mean of its recent steps."""

import math
from typing import Final, Self

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .bounds.limits import MAX_TIME, SECOND
from .chunk import ChunkProgress
from .micros import Micros

TIME_CONSTANT: Final = 30 * SECOND
KNOWN_AFTER: Final = 1 * SECOND
"""The age of a run below which its rate is noise."""


class Rate(MsgStruct, frozen=True, array_like=True):
    """Recent items and work a second at time `at`, in a run that started at `since` (microseconds).

    Each step of size d adds d/τ, and everything decays with e^(-t/τ). Dividing by 1 - e^(-age/τ) removes the bias of a
    young run, so that a constant rate is estimated exactly from the start.
    """

    since: Micros
    at: Micros
    items: float = 0.0
    work: float = 0.0

    def step(self, now: Micros, items: int, work: int) -> "Rate":
        """Return the rate after `items` and `work` were added at `now`."""
        now = max(now, self.at)
        decay = math.exp((self.at - now) / TIME_CONSTANT)
        scale = SECOND / TIME_CONSTANT
        return Rate(self.since, now, self.items * decay + items * scale, self.work * decay + work * scale)

    @property
    def items_per_second(self) -> float | None:
        """Items a second; None when unknown."""
        return self._unbiased(self.items)

    @property
    def work_per_second(self) -> float | None:
        """Units of work a second; None when unknown."""
        return self._unbiased(self.work)

    def end_of(self, work: int) -> int | None:
        """Return when this work will be done; None when unknown, and after the year 9999."""
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


class JobProgress(MsgStruct, frozen=True):
    """A job's progress as sums over its chunks; work in millionths of an item, percent is the maximum of the run."""

    work_total: int
    work_done: int = 0
    items_total: int = 0
    items_completed: int = 0
    percent: float = 0.0
    stage: str = ""
    stage_percent: float | None = None
    message: str = ""
    rate: Rate | None = None
    """The recent rate while the job is RUNNING, else None."""

    def reported(self, last: ChunkProgress) -> Self:
        """Return the progress with the stage and the message of the chunk that reported last."""
        stage, message = last.stage or self.stage, last.message or self.message
        stage_percent = last.stage_percent if last.stage else self.stage_percent
        return replace(self, stage=stage, stage_percent=stage_percent, message=message)

    def plus(self, work: int, items: int, now: Micros) -> Self:
        """Return the sums with these differences of work and completed items."""
        if not work and not items:
            return self
        done = self.work_done + work
        return replace(
            self,
            work_done=done,
            items_completed=self.items_completed + items,
            percent=max(self.percent, done * 100 / self.work_total),
            rate=self.rate.step(now, items, work) if self.rate else None,
        )

    @property
    def eta(self) -> int | None:
        """The expected end at the recent rate; None when unknown."""
        return None if self.rate is None else self.rate.end_of(self.work_total - self.work_done)

    @property
    def items_per_second(self) -> float | None:
        """The recent rate; None when unknown."""
        return None if self.rate is None else self.rate.items_per_second
