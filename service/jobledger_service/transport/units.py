"""The units of time within the transport."""

from typing import Final

MICROS_PER_SECOND: Final = 1_000_000
NANOS_PER_SECOND: Final = 1_000_000_000
NANOS_PER_MICROSECOND: Final = 1_000
