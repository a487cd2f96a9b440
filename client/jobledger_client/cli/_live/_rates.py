"""How much was done a second, over the last minutes."""

from collections import deque

from rich.text import Text

from jobledger_client.cli import _format as formatting
from jobledger_client.cli._stats_tables import bars

BUCKET_SECONDS = 2.0
_MAX_BUCKETS = 90
_LEVELS = "▁▂▃▄▅▆▇█"
_WORDS_WIDTH = 48
_MIN_BARS = 10


class RateHistory:
    """Counts in buckets of two seconds; times are seconds of a monotonic clock, and never fall."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._buckets: deque[int] = deque([0], maxlen=_MAX_BUCKETS + 1)
        self._last = 0

    def add(self, done: int, at: float) -> None:
        """Add what was done until a time."""
        self._advance(at)
        self._buckets[-1] += done

    def values(self, at: float) -> list[int]:
        """Return the counts of the buckets that are over, the oldest first."""
        self._advance(at)
        return list(self._buckets)[:-1]

    def _advance(self, at: float) -> None:
        bucket = int((at - self._started_at) / BUCKET_SECONDS)
        self._buckets.extend([0] * min(bucket - self._last, _MAX_BUCKETS + 1))
        self._last = max(bucket, self._last)


def sparkline(values: list[int], unit: str, *, width: int) -> Text:
    """Return a bar for each bucket, the newest last, and the highest rate in words."""
    shown = values[-max(width - _WORDS_WIDTH, _MIN_BARS) :]
    highest = formatting.rate(max(shown, default=0) / BUCKET_SECONDS)
    span = formatting.spoken(len(shown) * BUCKET_SECONDS)
    line = Text.assemble((bars(shown, _LEVELS), "cyan"), (f"  {unit}/s, at most {highest} in the last {span}", "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
