"""What differs between the synchronous and the asynchronous client: time, the channel, and reading a stream."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import grpc

from jobledger_client._channel import ChannelOptions, channel_options, channel_target

Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)

Channel: TypeAlias = grpc.Channel
UnaryCall: TypeAlias = grpc.UnaryUnaryMultiCallable
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


def read(stream: Stream[Response]) -> Response | None:
    """Return the next message, or None when the stream has ended well."""
    return next(stream, None)
