"""The pages of a list."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


async def pages_of(call: Callable[[Any], Awaitable[Any]], request: Any) -> AsyncIterator[Any]:
    """Yield the pages that follow on from a request, which then has the token of the last one."""
    while True:
        page = await call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
