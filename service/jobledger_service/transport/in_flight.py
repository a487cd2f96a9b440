"""The calls in flight: bounded in number and bytes, owners sharing what there is, so that nothing waits unseen."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, Self, TypeVar

import grpc

from .call import Context
from .large_requests import LargeRequests
from .methods import Kind, Method
from .receiving import RequestReceiver
from .refusals import InFlightFull, MalformedRequest

T = TypeVar("T")

RESERVE_DIVISOR: Final = 4
"""What is kept for reports on held leases: a quarter of the bytes, and a quarter more calls."""
MAX_PUBLIC_CALLS: Final = 1_000
"""Unary calls without a key in flight, of all connections."""
HARD: Final = 2
"""Times the message limit, from which on gRPC reads no further; up to there a refusal names the limit."""
RECEIVED: Final = 4
"""The part of the setting, 1 / RECEIVED, for requests of the largest size that are being received and read."""
WRITTEN: Final = 8
"""The part of the setting, 1 / WRITTEN, for the batch that is carried out: 32 MiB of 256.

A batch has 4 MiB of requests. While it is written they are there as rows, as parameters, as the driver has encoded them
and, for a moment, as the database's own copy; and 12,000 rows without any input take 12 MiB.
"""
COPIES: Final = 2
"""How often one request of a stream is in memory: as its message, and as what is made of that."""
UNREAD_BYTES: Final = 65_536
"""Bytes that a sender may have sent of a request that is not being received yet."""


class OwnerShares(Protocol):
    """How much each owner holds of an amount that all hold together, which has a limit and a reserve beyond it."""

    total: int

    def admits(self, owner: str, amount: int, *, reserved: bool) -> bool:
        """Whether an owner may hold this much more."""

    def add(self, owner: str, amount: int) -> None:
        """Add to an owner's amount."""

    def remove(self, owner: str, amount: int) -> None:
        """Subtract from an owner's amount."""


class InFlight:
    """Lets calls begin while there is room for them.

    Watches and claims that wait are no calls in flight; only the bytes of their requests count. `shares` makes shares
    of a limit and a reserve. `check_writer` refuses an owner whose writes would be refused anyway. `begin_call` is
    called in the task of each call with its owner, the size of its request and the seconds that are left for it, and
    refuses a call whose deadline has passed. `max_wait_seconds` is how long an owner's oldest call may wait until its
    request is received, before others are refused.
    """

    def __init__(
        self,
        max_calls: int,
        max_bytes: int,
        message_limit: int,
        shares: Callable[[int, int], OwnerShares],
        check_writer: Callable[[str], None],
        begin_call: Callable[[str, int, float | None], None],
        max_wait_seconds: float,
    ) -> None:
        self._reads = shares(max_calls, max_calls // RESERVE_DIVISOR)
        self._writes = shares(max_calls, max_calls // RESERVE_DIVISOR)
        self.public_calls = shares(MAX_PUBLIC_CALLS, 0)
        waiting = max_bytes - max_bytes // RECEIVED - max_bytes // WRITTEN
        self.bytes = shares(waiting - waiting // RESERVE_DIVISOR, waiting // RESERVE_DIVISOR)
        self._check_writer = check_writer
        self.begin_call = begin_call
        places = max(max_bytes // (RECEIVED * HARD * message_limit), 2)
        self.receiving = RequestReceiver(places, max_wait_seconds=max_wait_seconds)
        self.large_requests = LargeRequests()

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return self._reads.total + self._writes.total

    @property
    def size(self) -> int:
        """How many bytes are counted for the requests of all calls."""
        return self.bytes.total

    def begin(self, owner: str, method: Method) -> "CallInFlight":
        """Return a call's place; raises InFlightFull when there is none, before anything of its request is read."""
        if method.kind is Kind.WRITE and not method.reserved:
            self._check_writer(owner)
        calls = None if method.waits else self._reads if method.kind is Kind.READ else self._writes
        if calls is not None:
            if not calls.admits(owner, 1, reserved=method.reserved):
                raise InFlightFull("calls")
            calls.add(owner, 1)
        return CallInFlight(self, calls, owner, reserved=method.reserved)


class CallInFlight:
    """One call in flight; the end of the block gives its place free, and the bytes of its request."""

    __slots__ = ("_calls", "_held", "_in_flight", "_owner", "_reserved")

    def __init__(self, in_flight: InFlight, calls: OwnerShares | None, owner: str, *, reserved: bool) -> None:
        self._in_flight = in_flight
        self._calls = calls
        self._owner = owner
        self._reserved = reserved
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._calls is not None:
            self._calls.remove(self._owner, 1)
        self._in_flight.bytes.remove(self._owner, self._held)

    async def receive(self, context: Context, check: Callable[[int], None], read: Callable[[bytes], T]) -> T:
        """Return what is read of the request, and note that what follows is done for it.

        `check` is called with its size, and may refuse it; `read` perhaps on another thread. Raises MalformedRequest
        when there is none; InFlightFull when its bytes are too many, or the owner's requests wait too long;
        RequestTimedOut; and what `begin_call`, `check` and `read` raise.
        """
        receiving = self._in_flight.receiving
        unread = 0 if receiving.has_place(self._owner) else UNREAD_BYTES
        self._reserve(unread)

        async def arrived(raw: Any) -> T:  # noqa: ANN401  bytes, or gRPC's EOF
            self._release(unread)
            if raw is grpc.aio.EOF:
                raise MalformedRequest("is missing")
            check(len(raw))
            self._accept(raw, len(raw), context)
            return await self._in_flight.large_requests.read(self._owner, read, raw)

        return await receiving.receive(self._owner, context, arrived, reserved=self._reserved)

    async def receive_each(self, context: Context) -> AsyncIterator[bytes]:
        """Yield the requests of a stream, as the caller sends them; two are counted: one is written, one is read."""
        sizes = deque((0,))
        while (raw := await context.read()) is not grpc.aio.EOF:
            sizes.append(COPIES * len(raw))
            self._accept(raw, sizes[-1], context)
            yield raw
            self._release(sizes.popleft())

    def _accept(self, raw: bytes, size: int, context: Context) -> None:
        self._in_flight.begin_call(self._owner, len(raw), context.time_remaining())
        self._reserve(size)

    def _reserve(self, amount: int) -> None:
        if not self._in_flight.bytes.admits(self._owner, amount, reserved=self._reserved):
            raise InFlightFull("bytes")
        self._in_flight.bytes.add(self._owner, amount)
        self._held += amount

    def _release(self, amount: int) -> None:
        self._held -= amount
        self._in_flight.bytes.remove(self._owner, amount)
