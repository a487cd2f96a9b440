"""Wrong API keys at the form: how many a client may try in a minute. The server itself sets no such bound."""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

MAX_A_MINUTE: Final = 20
_MINUTE: Final = 60


class WrongAttempts:
    """Counts the wrong keys of each address in the minute that runs."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def begin(self, address: str) -> bool:
        """Count an attempt as a wrong one until it is known; return False, and count none, if there were too many."""
        self._begin_minute()
        if self._counts[address] >= MAX_A_MINUTE:
            return False
        self._counts[address] += 1
        return True

    def succeed(self, address: str) -> None:
        """Take an attempt back: the key was right."""
        self._counts[address] = max(self._counts[address] - 1, 0)

    def _begin_minute(self) -> None:
        minute = int(self._clock() // _MINUTE)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
