"""What gRPC holds of replies and messages until they are sent: bounded in bytes, because their callers may not read.

HTTP/2's flow control leaves what a caller does not read with the server, and nothing but the end of the connection
takes it away.
"""

import asyncio
from typing import Final

from jobledger_service.sharing.places import Places
from jobledger_service.sharing.shares import Shares
from jobledger_service.transport.refusals import InFlightFull

SMALL: Final = 4_096
"""Bytes up to which a message is not counted: gRPC keeps more than that of each call besides."""
MAX_WAITING_BYTES: Final = 16_384
"""Bytes of messages that may wait for room when they are made already: what waits is in memory as well."""
MAX_WAIT_SECONDS: Final = 10.0
"""How long a message of a stream waits for room, before its stream ends."""


class Unsent:
    """The bytes that are being sent, by owner. A message larger than the bound counts as much as the bound."""

    def __init__(self, shares: Shares, max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._shares = shares
        self._room = Places(shares)
        self.limit = shares.limit
        self._max_wait_seconds = max_wait_seconds

    @property
    def total(self) -> int:
        """How many bytes are being sent."""
        return self._shares.total

    def try_add(self, owner: str, size: int, *, reserved: bool = False) -> bool:
        """Count a message, if its owner may have this much more and no earlier one waits; return whether it may."""
        if size <= SMALL:
            return True
        counted = min(size, self.limit)
        if reserved:
            return self._shares.try_add(owner, counted, reserved=True)
        return self._room.take_free(owner, counted) is not None

    async def add(self, owner: str, size: int) -> None:
        """Count a message, perhaps after others of its owner; raises InFlightFull when that takes long."""
        if size <= SMALL:
            return
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._room.take(owner, min(size, self.limit))
        except TimeoutError:
            raise InFlightFull("unsent") from None

    def exchange(self, owner: str, counted: int, size: int) -> int:
        """Count a message in place of `counted` bytes, if there is room; return how many bytes count now."""
        self._shares.remove(owner, min(counted, self.limit))
        sizes = (each for each in (size, counted) if self._has_added(owner, each))
        counts = next(sizes, 0)
        self._room.grant()
        return counts

    def _has_added(self, owner: str, size: int) -> bool:
        return size <= SMALL or self._shares.try_add(owner, min(size, self.limit))

    def remove(self, owner: str, size: int) -> None:
        """Count a message no longer, and let in those for which there is room now."""
        if size > SMALL:
            self._room.release(owner, self._shares, min(size, self.limit))
