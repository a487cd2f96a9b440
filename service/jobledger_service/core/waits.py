"""The waits for the database and when they began: one bound for all of them while it does not answer."""

import asyncio
from typing import TypeVar, cast

from jobledger_service.core.model.refusals.errors import StoreUnavailable

R = TypeVar("R")


class Waits:
    """The answers that callers wait for: for a turn, a connection or a statement."""

    def __init__(self) -> None:
        self._since: dict[asyncio.Future[object], float] = {}

    async def answer(self, future: "asyncio.Future[R]") -> R:
        """Return the result of a future, which may be done when it is answered; raises StoreUnavailable."""
        waiting = cast("asyncio.Future[object]", future)
        self._since[waiting] = asyncio.get_running_loop().time()
        try:
            return await future
        finally:
            del self._since[waiting]

    def expire(self, seconds: float) -> None:
        """End the waits that have lasted this long, as the database does not answer."""
        begin = asyncio.get_running_loop().time() - seconds
        for future, since in self._since.items():
            if since <= begin and not future.done():
                future.set_exception(StoreUnavailable())
