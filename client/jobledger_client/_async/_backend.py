"""What differs between the asynchronous and the synchronous client: time, the channel, and reading a stream."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from jobledger_client._channel import ChannelOptions, channel_options, channel_target
from jobledger_client._errors import ClientClosedError
from jobledger_client._status import invalid_reply

Response = TypeVar("Response")

Channel: TypeAlias = grpc.aio.Channel
UnaryCall: TypeAlias = grpc.aio.UnaryUnaryMultiCallable
Call: TypeAlias = Callable[[], Awaitable[Response]]
StreamCall: TypeAlias = grpc.aio.UnaryStreamMultiCallable
Stream: TypeAlias = grpc.aio.UnaryStreamCall[Any, Response]


@dataclass(frozen=True, slots=True)
class AsyncClock:
    """Where a client takes time and chance from; tests set them. Times are in seconds, `random` is 0 to 1."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> Channel:
    """Return a channel, without TLS when there are no credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(channel_target(target), options=channel_options(target, options))
    return grpc.aio.secure_channel(channel_target(target), credentials, options=channel_options(target, options))


class AsyncOngoing(Generic[Response]):
    """A call that goes on while its caller does something else."""

    def __init__(self, call: Call[Response]) -> None:
        self._task = asyncio.ensure_future(call())

    async def result(self) -> Response:
        """Wait for its answer; raises its error."""
        return await self._task

    def leave(self) -> None:
        """Cancel it."""
        self._task.cancel()


async def answer_of(call: Awaitable[Response]) -> Response:
    """Wait for the answer of a call. Raises ClientClosedError when the client is closed meanwhile."""
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancels this task: the channel ended the call.
        raise ClientClosedError("the client was closed during the call", code=grpc.StatusCode.CANCELLED) from None


async def read(stream: Stream[Response]) -> Response | None:
    """Return the next message, or None when the stream has ended well. Raises InvalidReplyError, ClientClosedError."""
    message = await answer_of(stream.read())
    if message is None:  # gRPC's word for a message that it could not decode
        raise invalid_reply()
    return None if message is grpc.aio.EOF else cast("Response", message)
