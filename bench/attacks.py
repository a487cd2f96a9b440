"""What one owner does to a server that others use too: each attack is prepared, and then runs for some seconds."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from .owner import Owner
from .targets import Stream

CANCELLED: Final = "left"
"""A call that the attacker himself gave up."""


@dataclass(slots=True)
class Score:
    """What an attacker got, by status code."""

    codes: Counter[str] = field(default_factory=Counter)

    async def count(self, call: Awaitable[object]) -> bool:
        """Make a call and count how it ended; returns whether it was OK."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
            return False
        except TimeoutError:
            self.codes[CANCELLED] += 1
            return False
        self.codes["OK"] += 1
        return True


class Attack(ABC):
    """One way to burden a server; the attacker has several keys."""

    async def prepare(self, owners: Sequence[Owner]) -> None:  # noqa: B027  most need nothing
        """Have in the ledger what is needed."""

    async def open(self, owners: Sequence[Owner], score: Score) -> None:  # noqa: B027  most hold nothing
        """Open what is there before the bystander is measured."""

    @abstractmethod
    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Go on until that time."""


async def over_and_over(width: int, until: float, turn: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Take turns, so many at once, until that time."""

    async def slot(number: int) -> None:
        while time.perf_counter() < until:
            await turn(number)

    await asyncio.gather(*(slot(number) for number in range(width)))


async def read_out(stream: Stream, until: float) -> None:
    """Read a stream until it ends, or that time."""
    try:
        async with asyncio.timeout(max(until - time.perf_counter(), 0.0)):
            async for _ in stream:
                pass
    finally:
        stream.cancel()


async def at_once(width: int, count: int, make: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Do something for each number below `count`, so many at once."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await make(number)

    await asyncio.gather(*(some() for _ in range(width)))
