"""The calls in flight: bounded in number and bytes, owners sharing what there is, so that nothing waits unseen."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, Self, TypeVar

import grpc

from .call import Call
from .methods import Kind, Method
from .receiving import LargeRequests, Places, RequestReceiver
from .refusals import InFlightFull, MalformedRequest

T = TypeVar("T")

RESERVE_DIVISOR: Final = 4
"""What is kept for reports on held leases: a quarter of the bytes and of the places, and a quarter more calls."""
MAX_PUBLIC_CALLS: Final = 1_000
"""Unary calls without a key in flight, of all connections."""
HARD: Final = 2
"""Times the message limit, from which on gRPC reads no further; up to there a refusal names the limit."""
RECEIVED: Final = 4
"""The part of the setting, 1 / RECEIVED, for requests of the largest size that are being received and read."""
MIN_PLACES: Final = 3
"""Places where requests are received, whatever the setting: one for an owner, one for others, one for reports."""
WRITTEN: Final = 8
"""The part of the setting, 1 / WRITTEN, for the batch that is carried out: 32 MiB of 256.

A batch has 4 MiB of requests. While it is written they are there as rows, as parameters, as the driver has encoded them
and, for a moment, as the database's own copy; and 12,000 rows without any input take 12 MiB.
"""
STREAM_RECEIVE_SECONDS: Final = 5.0
"""The same as RECEIVE_TIMEOUT_SECONDS for the request of a stream of replies: a filter, which comes with its call."""
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
        self.message_limit = message_limit
        self.places = max(max_bytes // (RECEIVED * HARD * message_limit), MIN_PLACES)
        self.stream_places = max(self.places // RESERVE_DIVISOR, 1)
        places = self.places + self.stream_places
        received = max(max_bytes // RECEIVED, min(places * HARD * message_limit, max_bytes // 2))
        waiting = max_bytes - received - max_bytes // WRITTEN
        self.bytes = shares(waiting - waiting // RESERVE_DIVISOR, waiting // RESERVE_DIVISOR)
        self.check_writer = check_writer
        self.begin_call = begin_call
        reserve = max(self.places // RESERVE_DIVISOR, 1)
        self.receiver = RequestReceiver(self.places - reserve, reserve, max_wait_seconds=max_wait_seconds)
        self.stream_receiver = RequestReceiver(self.stream_places, timeout_seconds=STREAM_RECEIVE_SECONDS)
        self.large_requests = LargeRequests()

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return self._reads.total + self._writes.total

    @property
    def size(self) -> int:
        """How many bytes are counted for the requests of all calls."""
        return self.bytes.total

    def shares_of(self, method: Method) -> OwnerShares | None:
        """Return the shares that count a method's calls, None for one that waits."""
        if method.waits:
            return None
        return self._reads if method.kind is Kind.READ else self._writes


class CallInFlight:
    """One call in flight; the end of the block gives its place free, and the bytes of its request.

    To enter raises InFlightFull when there is no room for it, before anything of its request is read. `streams`: its
    replies are a stream, whose request has places of its own, since thousands open at once.
    """

    __slots__ = ("_bytes", "_call", "_calls", "_in_flight", "_owner", "_place", "_receiver", "_reserved")

    def __init__(self, in_flight: InFlight, call: Call, *, streams: bool = False) -> None:
        self._in_flight = in_flight
        self._call = call
        self._owner = call.caller.owner
        self._reserved = call.handler.method.reserved
        self._calls = in_flight.shares_of(call.handler.method)
        self._bytes = 0
        self._receiver = in_flight.stream_receiver if streams else in_flight.receiver
        self._place: Places | None = None

    def __enter__(self) -> Self:
        if self._call.handler.method.kind is Kind.WRITE and not self._reserved:
            self._in_flight.check_writer(self._owner)
        if self._calls is not None:
            if not self._calls.admits(self._owner, 1, reserved=self._reserved):
                raise InFlightFull("calls")
            self._calls.add(self._owner, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave_place()
        if self._calls is not None:
            self._calls.remove(self._owner, 1)
        self._in_flight.bytes.remove(self._owner, self._bytes)

    async def receive(self) -> bytes:
        """Return the request, and note that what follows is done for it.

        A place is held until `leave_place`, or the end of the block: till then a request may be in memory several
        times. Raises MalformedRequest when there is no request; InFlightFull when its bytes are too many, or the
        owner's requests wait too long; MessageTooLarge; RequestTimedOut; and what `begin_call` raises.
        """
        raw = await self._receive_next()
        if raw is grpc.aio.EOF:
            raise MalformedRequest("is missing")
        self._accept(raw, len(raw))
        return bytes(raw)

    async def _receive_next(self) -> Any:  # noqa: ANN401  bytes, or gRPC's EOF
        """Take a place and return what comes next. Of streams of replies the number that wait is bounded already."""
        receiver = self._receiver
        is_counted = receiver is self._in_flight.receiver
        waits = is_counted and receiver.turns.find(self._owner, reserved=self._reserved) is None
        unread = UNREAD_BYTES if waits else 0
        self._hold(unread)
        self._place = await receiver.take_place(self._owner, reserved=self._reserved)
        raw = await receiver.receive(self._call.context)
        self._release(unread)
        return raw

    async def read_on_thread(self, read: Callable[[bytes], T], raw: bytes) -> T:
        """Return what `read` makes of a large request, in the owner's turn; raises its errors."""
        return await self._in_flight.large_requests.read(self._owner, read, raw, reserved=self._reserved)

    def leave_place(self) -> None:
        """Give the place free where the request was received."""
        if self._place is not None:
            self._receiver.turns.release(self._owner, self._place)
            self._place = None

    async def receive_each(self) -> AsyncIterator[bytes]:
        """Yield the requests of a stream, each received in a place; two are counted: one is written, one is read.

        Raises the same as `receive`.
        """
        sizes = deque((0,))
        while (raw := await self._receive_next()) is not grpc.aio.EOF:
            sizes.append(COPIES * len(raw))
            self._accept(raw, sizes[-1])
            self.leave_place()
            yield raw
            self._release(sizes.popleft())

    def _accept(self, raw: bytes, size: int) -> None:
        self._call.received(len(raw))
        self._in_flight.begin_call(self._owner, len(raw), self._call.context.time_remaining())
        self._hold(size)

    def _hold(self, amount: int) -> None:
        if not self._in_flight.bytes.admits(self._owner, amount, reserved=self._reserved):
            raise InFlightFull("bytes")
        self._in_flight.bytes.add(self._owner, amount)
        self._bytes += amount

    def _release(self, amount: int) -> None:
        self._bytes -= amount
        self._in_flight.bytes.remove(self._owner, amount)
