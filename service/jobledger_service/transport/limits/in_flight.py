"""The calls in flight: bounded in number and bytes, owners sharing what there is, so that nothing waits unseen."""

from collections.abc import Callable
from typing import Final

from jobledger_service.sharing.shares import Shares
from jobledger_service.transport.methods import Kind, Method

from .receiving import LargeRequests, RequestReceiver
from .send_turns import SendTurns
from .sending import Unsent

RESERVE_DIVISOR: Final = 4
"""What is kept for reports on held leases: a quarter of the bytes and of the places, and a quarter more calls."""
MAX_PUBLIC_CALLS: Final = 1_000
"""Unary calls without a key in flight, of all connections."""
MAX_PUBLIC_BYTES: Final = 4_096
"""Bytes of a request without a key: the name of a service, of a file or of a symbol."""
MAX_PUBLIC_RECEIVING: Final = 16
"""Such requests of one method that are received at once: each may have as many bytes as gRPC reads of any request."""
PUBLIC_RECEIVE_SECONDS: Final = 1.0
"""A request this small comes with the start of its call. One that has not come by then gives way to others."""
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
"""How often one request of a stream is in memory: as its message, and as what is made of that; and a reply: gRPC copies
it."""
UNSENT: Final = 4
"""The part of what remains of the setting, 1 / UNSENT, for replies and messages until they are sent."""
UNREAD_BYTES: Final = 65_536
"""Bytes that a sender may have sent of a request that is not being received yet."""


class InFlight:
    """Lets calls begin while there is room for them.

    Watches and claims that wait are no calls in flight; only the bytes of their requests count. `check_writer` refuses
    an owner whose writes would be refused anyway. `begin_call` is called in the task of each call with its owner, the
    size of its request and the seconds that are left for it, and refuses a call whose deadline has passed.
    `max_wait_seconds` is how long an owner's oldest call may wait until its request is received, before others are
    refused.
    """

    def __init__(
        self,
        max_calls: int,
        max_bytes: int,
        message_limit: int,
        check_writer: Callable[[str], None],
        begin_call: Callable[[str, int, float | None], None],
        max_wait_seconds: float,
    ) -> None:
        self._reads = Shares(max_calls, max_calls // RESERVE_DIVISOR)
        self._writes = Shares(max_calls, max_calls // RESERVE_DIVISOR)
        self._public_calls = Shares(MAX_PUBLIC_CALLS, 0)
        self.message_limit = message_limit
        self.places = max(max_bytes // (RECEIVED * HARD * message_limit), MIN_PLACES)
        self.stream_places = max(self.places // RESERVE_DIVISOR, 1)
        places = self.places + self.stream_places
        received = max(max_bytes // RECEIVED, min(places * HARD * message_limit, max_bytes // 2))
        waiting = max_bytes - received - max_bytes // WRITTEN
        unsent = waiting // UNSENT
        waiting -= unsent
        of_public = unsent // RESERVE_DIVISOR // 2
        self.public_unsent = Unsent(Shares(of_public, 0))
        self.unsent = Unsent(Shares(unsent - unsent // RESERVE_DIVISOR, unsent // RESERVE_DIVISOR - of_public))
        self.send_turns = SendTurns()
        self.bytes = Shares(waiting - waiting // RESERVE_DIVISOR, waiting // RESERVE_DIVISOR)
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

    def shares_of(self, method: Method) -> Shares | None:
        """Return the shares that count a method's calls, None for one whose calls stay open."""
        if method.waits or method.kind is Kind.WATCH:
            return None
        if method.role is None:
            return self._public_calls
        return self._reads if method.kind is Kind.READ else self._writes

    def max_bytes_of(self, method: Method) -> int:
        """Return how many bytes a request of a method may have."""
        return self.message_limit if method.role is not None else min(MAX_PUBLIC_BYTES, self.message_limit)

    def unsent_of(self, method: Method) -> Unsent:
        """Return what counts a method's replies until they are sent; strangers fill a part of their own."""
        return self.unsent if method.role is not None else self.public_unsent

    def receiver_of(self, method: Method, *, streams: bool) -> RequestReceiver:
        """Return where a method's requests are received; a method without a key has places of its own."""
        if method.role is None:
            return RequestReceiver(MAX_PUBLIC_RECEIVING, timeout_seconds=PUBLIC_RECEIVE_SECONDS)
        return self.stream_receiver if streams else self.receiver
