"""What differs between the asynchronous and the synchronous client: time, the channel, reading a stream."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from jobledger_client._channel import ChannelOptions, channel_options, channel_target
from jobledger_client._error_groups import ClientClosedError
from jobledger_client._status import invalid_reply

Response = TypeVar("Response")

Channel: TypeAlias = grpc.aio.Channel
UnaryCall: TypeAlias = grpc.aio.UnaryUnaryMultiCallable
Call: TypeAlias = Callable[[], Awaitable[Response]]
StreamCall: TypeAlias = grpc.aio.UnaryStreamMultiCallable
Stream: TypeAlias = grpc.aio.UnaryStreamCall[Any, Response]


@dataclass(frozen=True, slots=True)
class AsyncClock:
    """A client's source of time and random numbers; tests replace it. Times are in seconds, `random` is 0 to 1."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> Channel:
    """Return a channel, without TLS when `credentials` is None."""
    if credentials is None:
        return grpc.aio.insecure_channel(channel_target(target), options=channel_options(target, options))
    return grpc.aio.secure_channel(channel_target(target), credentials, options=channel_options(target, options))


def is_closed(error: Exception) -> bool:
    """Return whether gRPC refused a call because its channel is closed."""
    return isinstance(error, grpc.aio.UsageError)


class AsyncPendingCall(Generic[Response]):
    """A call that runs while its caller does something else."""

    def __init__(self, call: Call[Response]) -> None:
        self._task = asyncio.ensure_future(call())

    async def result(self) -> Response:
        """Wait for the response; raises the call's error."""
        return await self._task

    def abandon(self) -> None:
        """Cancel the call."""
        self._task.cancel()


async def result_of(call: Awaitable[Response]) -> Response:
    """Wait for the response of a call. Raises ClientClosedError when the client is closed meanwhile."""
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # The task itself is not cancelled: the channel ended the call.
        raise ClientClosedError("the client was closed during the call", code=grpc.StatusCode.CANCELLED) from None


async def read(stream: Stream[Response]) -> Response | None:
    """Return the next message, None after status OK. Raises InvalidReplyError, ClientClosedError."""
    message = await result_of(stream.read())
    if message is None:  # gRPC returns None for a message that it could not decode
        raise invalid_reply()
    return None if message is grpc.aio.EOF else cast("Response", message)
