"""The workers that were active recently, in memory and bounded."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_WORKERS: Final = 100_000
"""The maximum number of remembered workers; beyond it, those seen longest ago are forgotten."""
ACTIVE_SECONDS: Final = 60.0
"""Seconds for which a worker counts after its last call: well above the time between two heartbeats or claims."""

WorkerKey = tuple[str, str]
"""An owner and the name of a worker."""


class ActiveWorkers:
    """Records when each worker last claimed or reported; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, max_workers: int = MAX_WORKERS) -> None:
        self._clock = clock
        self._max_workers = max_workers
        self._last_seen: OrderedDict[WorkerKey, float] = OrderedDict()

    def record(self, owner: str, worker: str) -> None:
        """Record that a worker is active now."""
        key = (owner, worker)
        self._last_seen[key] = self._clock()
        self._last_seen.move_to_end(key)
        if len(self._last_seen) > self._max_workers:
            self._last_seen.popitem(last=False)

    def count(self) -> int:
        """Return the number of recently active workers, and forget the others."""
        since = self._clock() - ACTIVE_SECONDS
        while self._last_seen and next(iter(self._last_seen.values())) < since:
            self._last_seen.popitem(last=False)
        return len(self._last_seen)
