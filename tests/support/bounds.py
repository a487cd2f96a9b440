"""How long tests wait for what must come."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

Result = TypeVar("Result")

BOUND = 100.0
"""Seconds: a bound for what hangs, not a measure. What takes long on a slow machine stays far below it."""
CALL_TIMEOUT = timedelta(seconds=BOUND)
"""The same for calls of the SDK."""


async def within(result: Awaitable[Result], seconds: float = BOUND) -> Result:
    """Return a result, or raise TimeoutError. `asyncio.wait_for` of Python 3.11 may swallow a cancellation."""
    async with asyncio.timeout(seconds):
        return await result
