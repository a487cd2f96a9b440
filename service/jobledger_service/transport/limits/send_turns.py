"""Turns of streams that may not be read: they share a bounded rate, and streams that are read do not wait for them.

A client takes in megabytes that its application does not read, and HTTP/2 does not tell the server. Until it is full,
a message to it costs as much as one to a reader. So the messages of a stream go out at once when it has taken in
more than a client holds unread; before, they take turns.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from jobledger_service.sharing.turns import Turns

READ_BYTES: Final = 4_500_000
"""Bytes after which a stream counts as read: gRPC's own clients hold up to 4 MiB of a stream unread."""
MIN_RATE: Final = 2_000.0
"""Messages a second that all other streams may send on a busy server: about a fifth of what one process can send."""
MAX_RATE: Final = 20_000.0
MAX_BURST: Final = 100.0
"""The maximum number of these messages at once, after a quiet time."""
BUSY: Final = 0.7
"""The share of a processor from which on the process is busy: Python runs one thread at a time."""
FASTER: Final = 1.1
SLOWER: Final = 0.7
"""How the rate changes at each check."""
CHECK_SECONDS: Final = 0.05
TURN_SECONDS: Final = 0.002
"""Seconds between turns. They are no passes of the event loop: one that never rests keeps other threads waiting."""


class SendTurns:
    """Lets the messages of streams that do not count as read go out in turn, owners and streams, while others are read.

    The rate rises while the process is not busy, and falls to the minimum while it is. `cpu_time` and `clock` are in
    seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu_time: Callable[[], float] = time.process_time
    ) -> None:
        self.readers = 0
        """The number of open streams that count as read."""
        self.rate = MIN_RATE
        self._clock = clock
        self._cpu_time = cpu_time
        self._turns: Turns[str, Callable[[], None]] = Turns()
        self._timer: asyncio.TimerHandle | None = None
        self._allowed = MAX_BURST
        self._allowed_at = self._checked_at = clock()
        self._cpu_time_before = cpu_time()

    def try_send(self) -> bool:
        """Whether a message may go out at once: no stream is read, or none waits and the rate allows it."""
        if not self.readers:
            return True
        if self._turns:
            return False
        self._refill()
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def add(self, owner: str, send: Callable[[], None]) -> None:
        """Call `send` when it is the turn of the owner's message."""
        self._turns.add(owner, send)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_SECONDS, self.go_on)

    async def wait(self, owner: str) -> None:
        """Wait until a message of an owner may go out."""
        if self.try_send():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(owner, lambda: None if turn.done() else turn.set_result(None))
        await turn

    def go_on(self) -> None:
        """Let messages go out as the rate allows, and the next ones later."""
        self._refill()
        self._check_load()
        self._timer = None
        try:
            while self._turns and (self._allowed >= 1 or not self.readers):
                self._allowed = max(self._allowed - 1, 0.0)
                self._turns.take()()
        finally:
            if self._turns:
                self._timer = asyncio.get_running_loop().call_later(TURN_SECONDS, self.go_on)

    def _refill(self) -> None:
        now = self._clock()
        self._allowed = min(self._allowed + (now - self._allowed_at) * self.rate, MAX_BURST)
        self._allowed_at = now

    def _check_load(self) -> None:
        """Change the rate by how busy the process was since the last check."""
        passed = self._clock() - self._checked_at
        if passed < CHECK_SECONDS:
            return
        used = self._cpu_time() - self._cpu_time_before
        self._checked_at += passed
        self._cpu_time_before += used
        rate = self.rate * (FASTER if used < BUSY * passed else SLOWER)
        self.rate = min(max(rate, MIN_RATE), MAX_RATE)
