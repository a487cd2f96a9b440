"""Which workers were heard of lately, in memory: bounded, and gone with the process."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST: Final = 100_000
"""As many workers are remembered; of more, those that were heard of longest ago are forgotten."""
LATELY: Final = 60.0
"""Seconds for which a worker counts after it was heard of: well above the time between two heartbeats or claims."""

Worker = tuple[str, str]
"""An owner and the name of a worker."""


class Attendance:
    """Notes when each worker claimed or reported; `clock` gives seconds that only rise."""

    def __init__(self, clock: Callable[[], float], *, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._heard: OrderedDict[Worker, float] = OrderedDict()

    def note(self, owner: str, worker: str) -> None:
        """Note that a worker was heard of now."""
        key = (owner, worker)
        self._heard[key] = self._clock()
        self._heard.move_to_end(key)
        if len(self._heard) > self._most:
            self._heard.popitem(last=False)

    def active(self) -> int:
        """Return how many workers were heard of lately, and forget the others."""
        since = self._clock() - LATELY
        while self._heard and next(iter(self._heard.values())) < since:
            self._heard.popitem(last=False)
        return len(self._heard)
