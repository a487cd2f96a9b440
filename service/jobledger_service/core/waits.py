"""Who waits for the database, and since when: one bound for all of them while it does not answer."""

import asyncio
from typing import TypeVar, cast

from jobledger_service.core.model.refusals.errors import StoreUnavailable

R = TypeVar("R")


class Waits:
    """The answers that callers wait for, whatever these wait for themselves: a turn, a connection, a statement."""

    def __init__(self) -> None:
        self._since: dict[asyncio.Future[object], float] = {}

    async def answer(self, future: "asyncio.Future[R]") -> R:
        """Return the answer of a future, which whoever answers may find done; raises StoreUnavailable."""
        waiting = cast("asyncio.Future[object]", future)
        self._since[waiting] = asyncio.get_running_loop().time()
        try:
            return await future
        finally:
            del self._since[waiting]

    def expire(self, seconds: float) -> None:
        """End the waits that have lasted so long, as the database does not answer."""
        begin = asyncio.get_running_loop().time() - seconds
        for future, since in self._since.items():
            if since <= begin and not future.done():
                future.set_exception(StoreUnavailable())
