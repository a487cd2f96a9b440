"""Handlers: the functions that do the work of a kind, and how they are called."""

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jobledger_client._worker._context import ChunkContext

Handler: TypeAlias = Callable[[ChunkContext], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Registered:
    """The handler of a kind. `timeout` is how many seconds one call may take, None for as long as it takes."""

    handler: Handler
    timeout: float | None


class NotRetryable(Exception):  # noqa: N818 - it reads as what it says: raise NotRetryable(...)
    """Raised by a handler whose chunk would fail again: it is FAILED, whatever attempts are left.

    `code` (1 to 128 characters) is the error's code; the name of the class when None.
    """

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def check_handler(handler: object) -> None:
    """Raise TypeError for what could not be run to its end: not callable, or a generator function."""
    if not callable(handler):
        raise TypeError(f"a handler must be a function that takes a ChunkContext; got {handler!r}")
    for function in (handler, type(handler).__call__):
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"a handler must return or raise; {handler!r} yields, so that calling it runs nothing: "
                "remove the yield, or call it in a handler that iterates over it"
            )


def check_plain(function: object) -> None:
    """Raise TypeError for what a caller that awaits nothing could not run to its end."""
    check_handler(function)
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"the function must be a plain `def`; {function!r} is async: call asyncio.run(...) in a plain one"
        )


def check_has_run(returned: object) -> None:
    """Raise TypeError when a plain function returned something that has not run to its end."""
    if inspect.iscoroutine(returned):
        returned.close()
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise TypeError(f"the function returned {type(returned).__name__}, which has not run: run it in the function")


def is_async(handler: Handler) -> bool:
    """Tell whether calling the handler gives a coroutine, and so belongs on the event loop."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class HandlerCall:
    """One call of a handler: on the event loop when it is asynchronous, on a thread of its own when it is plain.

    Whatever it returns that is awaitable is awaited, so a decorator that hides an `async def` changes nothing.
    """

    def __init__(self, handler: Handler, context: ChunkContext) -> None:
        self._handler = handler
        self._context = context
        self._in_thread = False
        self._thread: asyncio.Future[Any] | None = None

    @property
    def can_be_cancelled(self) -> bool:
        """Tell whether cancelling the task that runs it stops it: nothing stops a thread from outside."""
        return not self._in_thread

    @property
    def thread(self) -> "asyncio.Future[Any] | None":
        """The future of the thread that it runs on; None when it runs, or has ended, elsewhere."""
        return self._thread if self._in_thread else None

    async def run(self) -> None:
        """Run the handler to its end; raises what it raises, and TypeError for a generator."""
        if is_async(self._handler):
            await _run_to_end(self._handler(self._context))
            return
        returned = await self._call_in_thread()
        if self._context.cancelled and inspect.iscoroutine(returned):
            returned.close()  # it has not begun, and is to stop
            return
        await _run_to_end(returned)

    async def _call_in_thread(self) -> object:
        """Call a plain handler on a daemon thread.

        A pool's threads are joined when the interpreter exits, so one handler that never returns would keep a drained
        worker alive. The worker's slots bound the number of threads.
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
            except BaseException as raised:  # noqa: BLE001 - whatever it is, the chunk fails of it and the worker lives
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, returned, error)

        self._thread, self._in_thread = ended, True
        name = f"jobledger-{self._context.job_id}-{self._context.chunk.index}"
        threading.Thread(target=target, name=name, daemon=True).start()
        returned, error = await asyncio.shield(ended)
        if error is not None:
            raise error
        return returned


async def _run_to_end(returned: object) -> None:
    """Await what was returned until nothing is left to await."""
    while True:
        if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            raise TypeError(
                f"the handler returned the generator {returned.__qualname__}, which has not run: "
                "iterate over it in the handler"
            )
        if isinstance(returned, concurrent.futures.Future):
            returned = asyncio.wrap_future(returned)
        if not inspect.isawaitable(returned):
            return
        returned = await returned
