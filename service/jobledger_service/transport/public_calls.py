"""Calls of methods that need no key: small, few at a time, and fewest of the connection that makes most."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from .call import Call
from .in_flight import OwnerShares
from .receiving import RequestReceiver
from .refusals import InFlightFull, MalformedRequest, TooManyWatches

MAX_BYTES: Final = 4_096
"""Bytes of a request: the name of a service, of a file or of a symbol."""
MAX_RECEIVING: Final = 16
"""Requests of one method that are received at once: each may have as many bytes as gRPC reads of any request."""
RECEIVE_TIMEOUT_SECONDS: Final = 1.0
"""A request this small comes with the start of its call. One that has not come by then gives way to others."""
MAX_PER_CONNECTION: Final = 16
"""The maximum of streams for one connection: a client's channel watches the health of one service, or of a few."""
MAX_STREAMS: Final = 20_000
"""Of all connections: as many as there are connections with a watch of their own."""


class PublicRequests:
    """Receives the requests of one method. Connections take turns.

    `calls` are the shares of connections in the unary calls in flight.
    """

    def __init__(self, calls: OwnerShares) -> None:
        self._calls = calls
        self._receiver = RequestReceiver(MAX_RECEIVING, timeout_seconds=RECEIVE_TIMEOUT_SECONDS)

    @contextmanager
    def hold(self, peer: str) -> Iterator[None]:
        """Count a call that is answered at once; raises InFlightFull when its connection has too many of them."""
        if not self._calls.admits(peer, 1, reserved=False):
            raise InFlightFull("public_calls")
        self._calls.add(peer, 1)
        try:
            yield
        finally:
            self._calls.remove(peer, 1)

    async def receive(self, call: Call) -> bytes:
        """Return the request; raises MalformedRequest when there is none, MessageTooLarge, RequestTimedOut."""
        raw = await self._next(call)
        if raw is None:
            raise MalformedRequest("is missing")
        return raw

    async def receive_each(self, call: Call) -> AsyncIterator[bytes]:
        """Yield the requests of a stream; raises MessageTooLarge, and RequestTimedOut."""
        while (raw := await self._next(call)) is not None:
            yield raw

    async def _next(self, call: Call) -> bytes | None:
        peer = call.context.peer()
        place = await self._receiver.take_place(peer)
        try:
            raw = await self._receiver.receive(call.context)
        finally:
            self._receiver.turns.release(peer, place)
        if raw is grpc.aio.EOF:
            return None
        call.received(len(raw))
        return bytes(raw)


class PublicStreams:
    """The open streams that need no key, such as Watch of grpc.health.v1, by connection and by host.

    When there are as many as may be, a host with less than its share of them may still open some.
    """

    def __init__(self, max_streams: int = MAX_STREAMS, max_per_connection: int = MAX_PER_CONNECTION) -> None:
        self._max_streams = max_streams
        self._max_per_connection = max_per_connection
        self._of_connection: Counter[str] = Counter()
        self._of_host: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def hold(self, peer: str) -> Iterator[None]:
        """Hold a stream of a connection, named as gRPC names it, `ipv4:HOST:PORT`; raises TooManyWatches."""
        host = peer.rpartition(":")[0]
        if self._of_connection[peer] >= self._max_per_connection:
            raise TooManyWatches("connection", self._max_per_connection)
        if self._count >= self._max_streams and self._of_host[host] >= self._share(host):
            raise TooManyWatches("server", self._max_streams)
        self._count += 1
        self._of_connection[peer] += 1
        self._of_host[host] += 1
        try:
            yield
        finally:
            self._count -= 1
            _remove(self._of_connection, peer)
            _remove(self._of_host, host)

    def _share(self, host: str) -> int:
        return self._max_streams // len(self._of_host.keys() | {host})


def _remove(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
