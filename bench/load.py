"""A closed loop: so many calls in flight, for so long, against one server."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from .cases import Case
from .processes import CpuTimes
from .targets import Target, percentiles

HANG: Final = 60.0
"""Seconds that a measure may take longer than it was meant to."""


class RanDryError(RuntimeError):
    """There was nothing left to do before the time was over."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The clock and the CPU clocks at one moment."""

    wall: float
    server: CpuTimes
    generator: float

    @classmethod
    def now(cls, target: Target) -> "Usage":
        """Read the clocks."""
        return cls(time.perf_counter(), target.cpu(), time.process_time())

    def since(self, start: "Usage", count: int) -> dict[str, float]:
        """Return the rate, and the CPU microseconds for each of `count` things done since `start`."""
        each = 1_000_000 / max(count, 1)
        seconds = self.wall - start.wall
        user, kernel = (now - then for now, then in zip(self.server, start.server, strict=True))
        return {
            "rate": count / seconds,
            "server_us": (user + kernel) * each,
            "user_us": user * each,
            "kernel_us": kernel * each,
            "generator_us": (self.generator - start.generator) * each,
        }


async def measure(case: Case, target: Target, in_flight: int, seconds: float) -> dict[str, Any]:
    """Keep `in_flight` calls going for some seconds, let the last ones finish, and return what was seen."""
    took: list[float] = []
    start = Usage.now(target)
    deadline = start.wall + seconds

    async def slot(number: int) -> None:
        while time.perf_counter() < deadline:
            if not await case.turn(target, number, took):
                raise RanDryError

    async with asyncio.timeout(seconds + HANG):
        await asyncio.gather(*(slot(number) for number in range(in_flight)))
    seen = Usage.now(target).since(start, len(took))
    case.check()
    return {"calls": len(took), **seen, **percentiles(took)}
