"""Handlers: the functions that do the work of a kind, and how they are called."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from jobledger_client._worker._context import ChunkContext

Handler: TypeAlias = Callable[[ChunkContext], Awaitable[None] | None]


class NotRetryable(Exception):  # noqa: N818 - it reads as what it says: raise NotRetryable(...)
    """Raised by a handler whose chunk would fail again: it is FAILED, whatever attempts are left.

    `code` (1 to 128 characters) is the error's code; the name of the class when None.
    """

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def is_async(handler: Handler) -> bool:
    """Tell whether calling the handler gives something to await."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


async def call(handler: Handler, context: ChunkContext) -> None:
    """Call the handler: on the event loop when it is asynchronous, on a thread of its own when it is plain."""
    if is_async(handler):
        answer = handler(context)
        assert answer is not None  # noqa: S101 - what is_async says
        await answer
    else:
        await _call_in_thread(handler, context)


async def _call_in_thread(handler: Handler, context: ChunkContext) -> None:
    """Call a plain handler on a daemon thread.

    A pool's threads are joined when the interpreter exits, so one handler that never returns would keep a drained
    worker alive. The worker's slots bound the number of threads.
    """
    loop = asyncio.get_running_loop()
    returned: asyncio.Future[None] = loop.create_future()
    variables = contextvars.copy_context()

    def finish(error: Exception | None) -> None:
        if returned.done():
            return
        if error is None:
            returned.set_result(None)
        else:
            returned.set_exception(error)

    def target() -> None:
        error: Exception | None = None
        try:
            variables.run(handler, context)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, the chunk fails of it and the worker lives
            error = (
                raised
                if isinstance(raised, Exception) and not isinstance(raised, StopIteration)
                else RuntimeError(f"the handler raised {raised!r}")
            )
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=target, name=f"jobledger-{context.job_id}-{context.chunk.index}", daemon=True).start()
    await returned
