"""Reads large requests on a thread, one at a time, so that other calls go on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

T = TypeVar("T")

LARGE: Final = 16_384
"""Bytes of a request from which on it is read on the thread; smaller ones take less time than the way there."""


class LargeRequests:
    """A thread that reads requests in the order in which they come."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "requests")

    async def read(self, read: Callable[[bytes], T], raw: bytes) -> T:
        """Return what is read of a request, wherever it is read; raises what `read` raises."""
        if len(raw) < LARGE:
            return read(raw)
        return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, read, raw)
