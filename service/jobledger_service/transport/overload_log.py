"""Counts refusals for overload, and logs sums: a line for each would cost more than the refusal."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LOG_INTERVAL_SECONDS: Final = 1.0
"""Seconds between two lines."""


class OverloadLog:
    """Counts the calls that are refused because too much waits, by owner and the bound that was reached.

    `refused` is called with the bound of each.
    """

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._refused = refused
        self._counts: Counter[tuple[str, str]] = Counter()

    def record(self, owner: str, bound: str) -> None:
        """Count a refusal, which is logged within LOG_INTERVAL_SECONDS seconds."""
        if not self._counts:
            asyncio.get_running_loop().call_later(LOG_INTERVAL_SECONDS, self._write)
        self._counts[owner, bound] += 1
        self._refused(bound)

    def _write(self) -> None:
        counts, self._counts = self._counts, Counter()
        for (owner, bound), count in counts.items():
            log.warning("calls are refused for overload", owner=owner, bound=bound, calls=count)
