"""How long tests wait for what must come."""

from datetime import timedelta

BOUND = 100.0
"""Seconds: a bound for what hangs, not a measure. What takes long on a slow machine stays far below it."""
CALL_TIMEOUT = timedelta(seconds=BOUND)
"""The same for calls of the SDK."""
