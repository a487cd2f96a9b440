"""Requests of methods that need no key: small, few at a time, and fewest of the connection that sends most."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from .call import Context
from .in_flight import OwnerShares
from .receiving import RequestReceiver
from .refusals import InFlightFull, MalformedRequest, MessageTooLarge

MAX_BYTES: Final = 4_096
"""Bytes of a request: the name of a service, of a file or of a symbol."""
MAX_RECEIVING: Final = 16
"""Requests of one method that are received at once: each may have as many bytes as gRPC reads of any request."""
RECEIVE_TIMEOUT_SECONDS: Final = 1.0
"""A request this small comes with the start of its call. One that has not come by then gives way to others."""


class PublicRequests:
    """Receives the requests of one method. Connections take turns.

    `calls` are the shares of connections in the unary calls in flight.
    """

    def __init__(self, calls: OwnerShares) -> None:
        self._calls = calls
        self._receiver = RequestReceiver(MAX_RECEIVING, RECEIVE_TIMEOUT_SECONDS)

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

    async def receive(self, context: Context) -> bytes:
        """Return the request; raises MalformedRequest when there is none, MessageTooLarge, RequestTimedOut."""
        raw = await self._next(context)
        if raw is None:
            raise MalformedRequest("is missing")
        return raw

    async def receive_each(self, context: Context) -> AsyncIterator[bytes]:
        """Yield the requests of a stream; raises MessageTooLarge, and RequestTimedOut."""
        while (raw := await self._next(context)) is not None:
            yield raw

    async def _next(self, context: Context) -> bytes | None:
        return await self._receiver.receive(context.peer(), context, _checked)


async def _checked(raw: Any) -> bytes | None:  # noqa: ANN401  bytes, or gRPC's EOF
    if raw is grpc.aio.EOF:
        return None
    if len(raw) > MAX_BYTES:
        raise MessageTooLarge("", len(raw), MAX_BYTES)
    return bytes(raw)
