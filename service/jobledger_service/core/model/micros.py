"""Points in time."""

from typing import NewType

Micros = NewType("Micros", int)
"""Microseconds since 1970, UTC."""
