"""What differs between the synchronous and the asynchronous client: time, the channel, and reading a stream."""

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
    """A stream that is being read."""

    def cancel(self) -> object:
        """End it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a client takes time and chance from; tests set them. Times are in seconds, `random` is 0 to 1."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


def open_channel(target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> Channel:
    """Return a channel, without TLS when there are no credentials."""
    if credentials is None:
        return grpc.insecure_channel(channel_target(target), options=channel_options(target, options))
    return grpc.secure_channel(channel_target(target), credentials, options=channel_options(target, options))


class Ongoing(Generic[Response]):
    """A call that goes on, in a thread, while its caller does something else."""

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
        """Wait for its answer; raises its error."""
        return self._future.result()

    def leave(self) -> None:
        """Leave it to itself: it ends at its deadline, or with the channel."""


def answer_of(answer: Response) -> Response:
    """Return the answer of a call, which was waited for already."""
    return answer


def read(stream: Stream[Response]) -> Response | None:
    """Return the next message, or None when the stream has ended well."""
    return next(stream, None)
