"""Handlers, the functions that do the work of a kind, and one call of a handler."""

import asyncio
import concurrent.futures
import contextvars
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from itertools import starmap
from typing import Any, TypeAlias

from jobledger_client import _values as values
from jobledger_client._worker._context import ChunkContext

_LAZY = (Generator, AsyncIterator, map, filter, starmap)  # functions of the handler that nobody has called yet

Handler: TypeAlias = Callable[[ChunkContext], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class RegisteredHandler:
    """The handler of a kind. `timeout` is the maximum time of one call, None for no limit."""

    handler: Handler
    timeout: timedelta | None


class NotRetryable(Exception):  # noqa: N818 - reads well: raise NotRetryable(...)
    """A handler raises it when a retry is useless: the chunk is FAILED, even if attempts are left.

    `code` (1 to 128 characters) is the error's code; None means the name of the class.
    """

    code: str | None = None  # of a subclass whose __init__ does not call this one

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class RetryLater(Exception):  # noqa: N818 - reads well: raise RetryLater(...)
    """A handler raises it to fail the attempt and set the time until the next one, such as Retry-After of an HTTP 429.

    `delay`, 0 s to 7 days, replaces the delay of the job's retry policy; the attempt counts, and after the last one the
    chunk is FAILED. `ChunkContext.release` counts none. `code` (1 to 128 characters) is the error's code; None means
    the name of the class. Raises TypeError and ValueError for another delay.
    """

    code: str | None = None

    def __init__(self, delay: timedelta, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.delay = values.delay(delay)
        self.code = code


def check_handler(handler: object) -> None:
    """Raise TypeError for an object that is not callable, and for a generator function."""
    if not callable(handler):
        raise TypeError(f"a handler must be a function that takes a ChunkContext; got {handler!r}")
    for function in (handler, type(handler).__call__):
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"a handler must return or raise; {handler!r} is a generator function, and a call of it runs nothing: "
                "remove the yield, or iterate over it in a handler"
            )


def check_plain(function: object) -> None:
    """Raise TypeError for a function that only a caller that awaits can run."""
    check_handler(function)
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"the function must be a plain `def`; {function!r} is async: call asyncio.run(...) in a plain function"
        )


def check_has_run(returned: object) -> None:
    """Raise TypeError for a result that has not run: a coroutine, another awaitable, or a generator."""
    if inspect.iscoroutine(returned):
        returned.close()
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise TypeError(f"the function returned {type(returned).__name__}, which has not run: run it in the function")


def is_async(handler: Handler) -> bool:
    """Return whether a call of the handler returns a coroutine, which runs on the event loop."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class HandlerCall:
    """One call of a handler: on the event loop if it is asynchronous, on a thread of its own if it is plain.

    An awaitable result is awaited, so that a decorator may hide an `async def`.
    """

    def __init__(self, handler: Handler, context: ChunkContext) -> None:
        self._handler = handler
        self._context = context
        self._in_thread = False
        self._thread: asyncio.Future[Any] | None = None

    @property
    def can_be_cancelled(self) -> bool:
        """Whether cancelling its task stops the handler: nothing stops a thread from outside."""
        return not self._in_thread

    @property
    def thread(self) -> "asyncio.Future[Any] | None":
        """The future of the thread that runs the handler; None when no thread does."""
        return self._thread if self._in_thread else None

    async def run(self) -> None:
        """Run the handler to its end; raises what it raises, and TypeError for a generator."""
        if is_async(self._handler):
            await _run_to_end(self._handler(self._context))
            return
        returned = await self._call_in_thread()
        if self._context.cancelled and inspect.iscoroutine(returned):
            returned.close()  # it has not begun, and must stop
            return
        await _run_to_end(returned)

    async def _call_in_thread(self) -> object:
        """Call a plain handler on a daemon thread.

        The interpreter joins the threads of a pool at exit, so that one handler which never returns would keep a
        drained worker alive. The worker's slots limit the number of threads.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()
        variables = contextvars.copy_context()

        def finish(returned: object, error: BaseException | None) -> None:
            self._in_thread = False
            ended.set_result((returned, error))

        def target() -> None:
            returned, error = None, None
            try:
                returned = variables.run(self._handler, self._context)
            except BaseException as raised:  # noqa: BLE001 - any exception fails the chunk, and the worker survives
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, returned, error)

        name = f"jobledger-{self._context.job_id}-{self._context.chunk.index}"
        threading.Thread(target=target, name=name, daemon=True).start()  # raises RuntimeError when there are too many
        self._thread, self._in_thread = ended, True
        returned, error = await asyncio.shield(ended)
        if error is not None:
            raise error
        return returned


async def _run_to_end(returned: object) -> None:
    """Await the result of a handler until it is no longer awaitable; raise TypeError for one that has not run."""
    while True:
        if isinstance(returned, concurrent.futures.Future):
            returned = asyncio.wrap_future(returned)
        if not inspect.isawaitable(returned):
            break
        returned = await returned
    if isinstance(returned, _LAZY):
        name = getattr(returned, "__qualname__", None)
        what = f"the generator {name}" if name else f"a {type(returned).__name__}"
        raise TypeError(f"the handler returned {what}, which has not run: iterate over it in the handler")
    if isinstance(returned, _pool_results()):
        what = f"a {type(returned).__name__} of a pool"
        raise TypeError(f"the handler returned {what}, which may not have run: wait for its result in the handler")


def _pool_results() -> tuple[type, ...]:
    """Return the results of multiprocessing's pools; none where nobody has such a pool."""
    pool = sys.modules.get("multiprocessing.pool")
    return (pool.ApplyResult, pool.IMapIterator) if pool else ()
