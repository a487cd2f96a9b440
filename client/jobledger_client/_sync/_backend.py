"""What differs between the synchronous and the asynchronous client: time, the channel, reading a stream."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Generic, Protocol, TypeAlias, TypeVar

import grpc

from jobledger_client._channel import ChannelOptions, channel_options, channel_target

Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)

Channel: TypeAlias = grpc.Channel
UnaryCall: TypeAlias = grpc.UnaryUnaryMultiCallable
Call: TypeAlias = Callable[[], Response]
StreamCall: TypeAlias = grpc.UnaryStreamMultiCallable


class Stream(Iterator[Response_co], Protocol[Response_co]):
    """A stream of messages."""

    def cancel(self) -> object:
        """End the stream."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A client's source of time and random numbers; tests replace it. Times are in seconds, `random` is 0 to 1."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> Channel:
    """Return a channel, without TLS when `credentials` is None."""
    if credentials is None:
        return grpc.insecure_channel(channel_target(target), options=channel_options(target, options))
    return grpc.secure_channel(channel_target(target), credentials, options=channel_options(target, options))


def is_closed(error: Exception) -> bool:
    """Return whether gRPC refused a call because its channel is closed."""
    return isinstance(error, ValueError) and str(error).startswith("Cannot invoke RPC")


class PendingCall(Generic[Response]):
    """A call that runs on a thread while its caller does something else."""

    def __init__(self, call: Call[Response]) -> None:
        self._call = call
        self._future: Future[Response] = Future()
        Thread(target=self._run, name="jobledger-call", daemon=True).start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - the caller's to handle
            self._future.set_exception(error)

    def result(self) -> Response:
        """Wait for the response; raises the call's error."""
        return self._future.result()

    def abandon(self) -> None:
        """Let the call end by itself, at its deadline or with the channel."""


def result_of(response: Response) -> Response:
    """Return the response of a call; a synchronous call has waited for it already."""
    return response


def read(stream: Stream[Response]) -> Response | None:
    """Return the next message, None after status OK."""
    return next(stream, None)
