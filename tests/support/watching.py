"""One watch as a test reads it: message by message, each with a bound, until the stream ends."""

from collections.abc import Callable
from typing import Generic, Self, TypeVar

import grpc
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse, WatchMessageType

from tests.support.bounds import within

Message = TypeVar("Message", WatchJobResponse, WatchJobsResponse)

SNAPSHOT = WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT
CHANGED = WatchMessageType.WATCH_MESSAGE_TYPE_CHANGED
LEFT = WatchMessageType.WATCH_MESSAGE_TYPE_LEFT
DELETED = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
BOOKMARK = WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK


class Ended(Exception):  # noqa: N818 - the end of a stream is no error
    """The stream ended with OK."""


class Watch(Generic[Message]):
    """A stream of watch messages, and the last cursor that it brought."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[object, Message]) -> None:
        self.call = call
        self.cursor = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()

    async def message(self) -> Message:
        """Return the next message of any type."""
        read = await within(self.call.read())
        if read is grpc.aio.EOF:
            raise Ended
        self.cursor = read.cursor or self.cursor
        return read

    async def change(self) -> Message:
        """Return the next message that is not a bookmark."""
        return await self.until(lambda message: message.type != BOOKMARK)

    async def changes(self, count: int) -> list[Message]:
        """Return the next messages that are not bookmarks."""
        return [await self.change() for _ in range(count)]

    async def bookmark(self) -> Message:
        """Return the next bookmark."""
        return await self.until(lambda message: message.type == BOOKMARK)

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Read on to the first message that is wanted and return it."""
        while True:
            message = await self.message()
            if wanted(message):
                return message

    async def rest(self) -> list[Message]:
        """Return all messages but bookmarks until the stream ends with OK."""
        messages = []
        try:
            while True:
                messages.append(await self.change())
        except Ended:
            return messages

    async def through(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Return all messages but bookmarks up to the first that is wanted, and that one too."""
        messages = [await self.change()]
        while not wanted(messages[-1]):
            messages.append(await self.change())
        return messages
