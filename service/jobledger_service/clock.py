"""The time, which everything else is given."""

import time


def clock() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1_000
