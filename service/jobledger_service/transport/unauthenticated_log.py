"""Refusals of unknown callers: summed up in one line a minute, so that they cannot fill the log."""

import asyncio
from collections import Counter
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LOG_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two lines."""


class AnonymousRefusalLog:
    """Counts calls that were refused before their caller was known, or that need no key, by method, code and reason."""

    def __init__(self, every: float = LOG_INTERVAL_SECONDS) -> None:
        self._every = every
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._next: asyncio.TimerHandle | None = None

    def add(self, method: str, code: str, reason: str) -> None:
        """Count a refusal; the first of a minute is logged at once, later ones when the minute is over."""
        self._counts[method, code, reason] += 1
        if self._next is None:
            self._write()

    def close(self) -> None:
        """Log what has not been logged yet."""
        if self._next is not None:
            self._next.cancel()
        self._write()

    def _write(self) -> None:
        self._next = None
        if not self._counts:
            return
        refusals = [
            {"method": method, "code": code, "reason": reason, "calls": calls}
            for (method, code, reason), calls in self._counts.most_common()
        ]
        log.info("refused without a key", calls=self._counts.total(), refusals=refusals)
        self._counts.clear()
        self._next = asyncio.get_running_loop().call_later(self._every, self._write)
