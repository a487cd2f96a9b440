"""Writes the messages of one stream, one after the other: for the task of its call, or without it."""

import asyncio
from typing import TYPE_CHECKING, Any

from .limits.send_turns import READ_BYTES
from .limits.sending import MAX_WAITING_BYTES
from .refusals import InFlightFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import Call


class CallerLeftError(Exception):
    """The caller has left."""


class StreamWriter:
    """Writes to the stream of one call.

    `send` is for the task of the call. `begin` wakes no task, neither now nor later: `on_written` is called once, on
    the event loop, when the message is written, and `on_failed` when it cannot be. `begin` must not be called when the
    call has ended. Messages are counted until they are written. Each waits for its turn until the stream counts as
    read.
    """

    __slots__ = (
        "_awaited_size", "_context", "_counted", "_is_read", "_metrics", "_owner", "_room", "_sent", "_turns",
        "_unsent", "_usage", "_waiting", "_write", "has_failed", "is_writing", "on_failed", "on_written",
    )  # fmt: skip

    def __init__(self, call: "Call") -> None:
        self._context = call.context
        self._metrics = call.handler.metrics
        self._usage = call.usage
        self._owner = call.owner
        self._unsent = call.handler.unsent
        self._turns = call.handler.send_turns
        self._sent = 0  # until the stream counts as read
        self._is_read = False
        self._waiting: bytes | None = None  # the message that was begun, until its turn
        self._counted = 0  # of the message that was begun
        self._awaited_size = 0  # for the message that could not be begun
        self._room = 0  # kept for it, since `finish`
        self._write: Any = None  # gRPC's coroutine
        self.is_writing = self.has_failed = False
        self.on_written: Callable[[], None] | None = None
        self.on_failed: Callable[[], None] | None = None

    async def send(self, messages: "Sequence[bytes]") -> None:
        """Write messages, if there is room for all, perhaps later; raises CallerLeftError, InFlightFull."""
        size = sum(map(len, messages))
        counted = self._count(size)
        if counted is None:
            if size > MAX_WAITING_BYTES:
                raise InFlightFull("unsent")
            await self._unsent.add(self._owner, size)
            counted = size
        try:
            for message in messages:
                if not self._is_read:
                    await self._turns.wait(self._owner)
                await self._context.write(message)
                self._count_sent(message)
        except Exception as error:  # gRPC's own kind is private; bytes already fail for no other reason
            raise CallerLeftError from error
        finally:
            self._unsent.remove(self._owner, counted)

    def begin(self, message: bytes) -> bool:
        """Begin to write a message, when none is being written; return False when there is no room for it.

        The steps of gRPC's coroutine are taken here: it waits once, for its message to be written. It is never closed
        before, also when its call is cancelled: gRPC ends each write, and its coroutine then frees what it holds.
        """
        counted = self._count(len(message))
        if counted is None:
            self._awaited_size = len(message)
            return False
        self._counted = counted
        self.is_writing = True
        self._waiting = message
        if self._is_read or self._turns.try_send():
            self._start()
        else:
            self._turns.add(self._owner, self._start)
        return True

    def _start(self) -> None:
        """Write the message that was begun, unless the call has ended before its turn."""
        message, self._waiting = self._waiting, None
        if message is None:
            return
        self._count_sent(message)
        self._write = write = self._context.write(message)
        try:
            write.send(None).add_done_callback(self._finish)
        except Exception:  # noqa: BLE001  the call has ended
            self._fail()

    def _count_sent(self, message: bytes) -> None:
        self._usage.sent += len(message)
        self._metrics.messages += 1
        if not self._is_read:
            self._sent += len(message)
            if self._sent > READ_BYTES:
                self._is_read = True
                self._turns.readers += 1

    def _count(self, size: int) -> int | None:
        """Count a message, in place of the room that was kept for it, if any; None when there is no room."""
        room, self._room = self._room, 0
        if room:
            return self._unsent.exchange(self._owner, room, size)
        return size if self._unsent.try_add(self._owner, size) else None

    def _finish(self, _: object) -> None:
        try:
            self._write.send(None)
        except StopIteration:
            self._end()
            if self.on_written is not None:
                goes_on, self.on_written = self.on_written, None
                goes_on()
        except Exception:  # noqa: BLE001  the caller has left
            self._fail()

    def _end(self) -> None:
        self.is_writing, self._write = False, None
        self._unsent.remove(self._owner, self._counted)

    def _fail(self) -> None:
        self._end()
        self.has_failed = True
        if self.on_failed is not None:
            self.on_failed()

    async def finish(self) -> None:
        """Wait until a message that was begun is written, and for room if one could not be.

        Raises CallerLeftError, and InFlightFull when there is no room for long.
        """
        if self.is_writing:
            ended = asyncio.Event()
            self.on_written = self.on_failed = ended.set
            try:
                await ended.wait()
            finally:
                self.on_written = self.on_failed = None
        if self.has_failed:
            raise CallerLeftError
        size, self._awaited_size = self._awaited_size, 0
        if size:
            await self._unsent.add(self._owner, size)
            self._room = size

    def close(self) -> None:
        """Give back the room that was kept, and drop a message whose turn has not come."""
        room, self._room = self._room, 0
        self._unsent.remove(self._owner, room)
        if self._waiting is not None:
            self._waiting = None
            self._end()
        self._turns.readers -= self._is_read
        self._is_read = False
