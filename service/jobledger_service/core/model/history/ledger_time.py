"""The ledger's time: it follows the machine's clock, never falls, and believes no jump ahead at once."""

from typing import Final

MAX_STEP: Final = 1_000_000_000
"""Nanoseconds: a clock that is ahead by no more is followed at once."""
WAIT_DIVISOR: Final = 20
"""A jump ahead is believed when it has lasted for one part in this many of itself: an hour after three minutes."""
SLOW_DIVISOR: Final = 2
"""While the ledger's time is ahead of the machine's, it rises by one part in this many of the time that passes."""


class LedgerTime:
    """The time of a ledger, from two clocks of one machine, all in nanoseconds.

    The machine's clock says the date and may jump either way; the steady one only measures how much time passes. A jump
    ahead that is over again soon leaves no trace. While the machine's clock is behind, the ledger's time rises at half
    the speed, until the machine has caught up: so it never falls, and nothing that it measures takes longer than twice
    its time.
    """

    __slots__ = ("_jump", "_jump_seen", "_steady", "_time")

    def __init__(self, machine: int, steady: int, after: int = 0) -> None:
        """Begin with the machine's time, but not before `after`."""
        self._time = max(machine, after)
        self._steady = steady
        self._jump = 0
        self._jump_seen: int | None = None

    def read(self, machine: int, steady: int) -> int:
        """Return the time when the clocks show these times."""
        passed = max(0, steady - self._steady)
        self._steady += passed
        ahead = self._time + passed - machine
        if ahead >= 0:
            self._jump_seen = None
            self._time += max(passed // SLOW_DIVISOR, passed - ahead)
        elif self._believes(-ahead, machine - self._steady):
            self._time = machine
        else:
            self._time += passed
        return self._time

    def raise_to(self, time: int) -> None:
        """Continue no earlier than at a time that the ledger has reached elsewhere."""
        self._time = max(self._time, time)

    def _believes(self, jump: int, offset: int) -> bool:
        """Whether a jump ahead has lasted; one to another offset to the steady clock begins to last anew."""
        if jump <= MAX_STEP:
            self._jump_seen = None
            return True
        if self._jump_seen is None or abs(offset - self._jump) > MAX_STEP:
            self._jump, self._jump_seen = offset, self._steady
        return self._steady - self._jump_seen >= jump // WAIT_DIVISOR
