"""Calls of a user's functions: `async def`, plain, or plain around an `async def`."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def call(function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - whatever the function returns
    """Call a function, a plain one on a thread, and await its result while that is awaitable."""
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    returned = function(*args) if is_async else await asyncio.to_thread(function, *args)
    while inspect.isawaitable(returned):
        returned = await returned
    return returned
