"""What gRPC holds of replies and messages until they are sent: bounded in bytes, because their callers may not read.

HTTP/2's flow control leaves what a caller does not read with the server, and nothing but the end of the connection
takes it away.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from .refusals import InFlightFull

if TYPE_CHECKING:
    from jobledger_service.sharing.shares import Shares

SMALL: Final = 4_096
"""Bytes up to which a message is not counted: gRPC keeps more than that of each call besides."""
MAX_WAITING_BYTES: Final = 16_384
"""Bytes of messages that may wait for room when they are made already: what waits is in memory as well."""
MAX_WAIT_SECONDS: Final = 10.0
"""How long a message of a stream waits for room, before its stream ends."""


class _Waiting(NamedTuple):
    granted: "asyncio.Future[None]"
    size: int


class Unsent:
    """The bytes that are being sent, by owner. A message larger than the bound counts as much as the bound."""

    def __init__(self, shares: "Shares", max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._shares = shares
        self.limit = shares.limit
        self._max_wait_seconds = max_wait_seconds
        self._lines: dict[str, deque[_Waiting]] = {}

    @property
    def total(self) -> int:
        """How many bytes are being sent."""
        return self._shares.total

    def try_add(self, owner: str, size: int, *, reserved: bool = False) -> bool:
        """Count a message, if its owner may have this much more and no earlier one waits; return whether it may."""
        return (size <= SMALL or reserved or owner not in self._lines) and self._has_added(
            owner, size, reserved=reserved
        )

    def _has_added(self, owner: str, size: int, *, reserved: bool = False) -> bool:
        return size <= SMALL or self._shares.try_add(owner, min(size, self.limit), reserved=reserved)

    async def add(self, owner: str, size: int) -> None:
        """Count a message, perhaps after others of its owner; raises InFlightFull when that takes long."""
        if self.try_add(owner, size):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(owner, deque()).append(_Waiting(granted, min(size, self.limit)))
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await granted
        except (asyncio.CancelledError, TimeoutError) as error:
            if granted.cancelled():
                self._let_in(owner)
            else:
                self.remove(owner, size)
            if isinstance(error, TimeoutError):
                raise InFlightFull("unsent") from None
            raise

    def exchange(self, owner: str, counted: int, size: int) -> int:
        """Count a message in place of so many bytes, if there is room, else as many again; return how many count."""
        self._shares.remove(owner, min(counted, self.limit))
        counts = size
        if not self._has_added(owner, size):
            counts = counted if self._has_added(owner, counted) else 0
        self._let_in_all()
        return counts

    def remove(self, owner: str, size: int) -> None:
        """Count a message no longer, and let in those for which there is room now."""
        if size > SMALL:
            self._shares.remove(owner, min(size, self.limit))
            self._let_in_all()

    def _let_in_all(self) -> None:
        for waiting in list(self._lines):
            self._let_in(waiting)

    def _let_in(self, owner: str) -> None:
        """Let in the first ones of an owner's line, as far as there is room."""
        line = self._lines.get(owner, deque())
        while line and (line[0].granted.done() or self._shares.try_add(owner, line[0].size, reserved=False)):
            first = line.popleft()
            if not first.granted.done():
                first.granted.set_result(None)
        if not line:
            self._lines.pop(owner, None)
