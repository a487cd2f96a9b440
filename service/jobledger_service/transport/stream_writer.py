"""Writes the messages of one stream, one after the other: for the task of its call, or without it."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call


class CallerLeftError(Exception):
    """There is nobody to write to any more."""


class StreamWriter:
    """Writes to the stream of one call.

    `send` is for the task of the call. `begin` wakes no task, neither now nor later: `on_written` is called once, on
    the event loop, when the message is written, and `on_failed` when it cannot be. `begin` must not be called when the
    call has ended.
    """

    __slots__ = ("_context", "_metrics", "_usage", "_write", "has_failed", "is_writing", "on_failed", "on_written")

    def __init__(self, call: "Call") -> None:
        self._context = call.context
        self._metrics = call.handler.metrics
        self._usage = call.usage
        self._write: Any = None  # gRPC's coroutine
        self.is_writing = self.has_failed = False
        self.on_written: Callable[[], None] | None = None
        self.on_failed: Callable[[], None] | None = None

    async def send(self, message: bytes) -> None:
        """Write a message; raises CallerLeftError."""
        try:
            await self._context.write(message)
        except Exception as error:  # gRPC's own kind is private; bytes already fail for no other reason
            raise CallerLeftError from error
        self._usage.sent += len(message)
        self._metrics.messages += 1

    def begin(self, message: bytes) -> None:
        """Begin to write a message, when none is being written.

        The steps of gRPC's coroutine are taken here: it waits once, for its message to be written. It is never closed
        before, also when its call is cancelled: gRPC ends each write, and its coroutine then frees what it holds.
        """
        self._usage.sent += len(message)
        self._metrics.messages += 1
        self.is_writing = True
        self._write = write = self._context.write(message)
        try:
            write.send(None).add_done_callback(self._finish)
        except Exception:  # noqa: BLE001  the call has ended
            self._fail()

    def _finish(self, _: object) -> None:
        try:
            self._write.send(None)
        except StopIteration:
            self.is_writing, self._write = False, None
            if self.on_written is not None:
                goes_on, self.on_written = self.on_written, None
                goes_on()
        except Exception:  # noqa: BLE001  the caller has left
            self._fail()

    def _fail(self) -> None:
        self.is_writing, self._write, self.has_failed = False, None, True
        if self.on_failed is not None:
            self.on_failed()

    async def finish(self) -> None:
        """Wait until a message that was begun is written; raises CallerLeftError."""
        if self.is_writing:
            written = asyncio.get_running_loop().create_future()
            self.on_written = self.on_failed = partial(written.set_result, None)
            try:
                await written
            finally:
                self.on_written = self.on_failed = None
        if self.has_failed:
            raise CallerLeftError
