"""Reads large requests on a thread, one at a time and owners in turn, so that other calls continue meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

from .turns import Turns

T = TypeVar("T")

LARGE: Final = 16_384
"""The bytes from which a request is read on the thread; smaller ones take less time than the switch."""


class LargeRequests:
    """A thread that reads requests of owners in turn."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "requests")
        self._turns = Turns(1, 1)

    async def read(self, owner: str, read: Callable[[bytes], T], raw: bytes) -> T:
        """Return the request as read, on the thread or here; raises the errors of `read`."""
        if len(raw) < LARGE:
            return read(raw)
        await self._turns.take(owner)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, read, raw)
        finally:
            self._turns.release(owner)
