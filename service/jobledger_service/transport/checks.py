"""Checks of requests: all violations of a request are reported together, each with its field and value."""

import math
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from .structs import broken_rules
from .units import MICROS_PER_SECOND, NANOS_PER_MICROSECOND, NANOS_PER_SECOND

_MAX_SHOWN: Final = 60
_MAX_FAULTS_OF_STRUCTS: Final = 8
"""The maximum of reported faults of all Structs of a request: naming one means walking through the Struct."""
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799


def shown(value: str) -> str:
    """Return a value that fits into a message."""
    return repr(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…")


def must_be_one_of(value: object, allowed: Iterable[object]) -> str:
    """Return the violation of a value that is not one of those allowed."""
    return f"value {value} must be one of {', '.join(map(str, allowed))}"


def _seconds(micros: int) -> str:
    return f"{micros / MICROS_PER_SECOND:.15g} s"


class FieldChecks:
    """Gathers the broken rules of fields as `violations`: each field's path with a sentence."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []
        self._faults_of_structs = 0

    def fault(self, field: str, rule: str) -> None:
        """Record a violation."""
        self.violations.append((field, rule))

    def one_of(self, field: str, value: object, allowed: Iterable[object]) -> None:
        """Record a value that is not one of those allowed."""
        self.fault(field, must_be_one_of(value, allowed))

    def within(self, field: str, value: float, low: float, high: float) -> None:
        """Check that a number is within bounds, inclusive."""
        if not low <= value <= high or not math.isfinite(value):
            self.fault(field, f"value {value} must be from {low} to {high}")

    def at_least(self, field: str, value: int, low: int) -> None:
        """Check that a number is not below a bound."""
        if value < low:
            self.fault(field, f"value {value} must be at least {low}")

    def at_most(self, field: str, value: str, max_length: int, min_length: int = 0) -> None:
        """Check that a text has at least `min_length` characters and at most `max_length`."""
        if len(value) < min_length:
            self.fault(field, "is required" if min_length == 1 else f"must have at least {min_length} characters")
        elif len(value) > max_length:
            self.fault(field, f"must have at most {max_length} characters; got {len(value)}")
        elif "\x00" in value:
            self.fault(field, "must not contain a NUL character")

    def count(self, field: str, count: int, max_count: int, min_count: int = 0) -> None:
        """Check that a list or map has at least `min_count` entries and at most `max_count`."""
        if count < min_count:
            self.fault(
                field, "is required" if min_count == 1 else f"must have at least {min_count} entries; got {count}"
            )
        elif count > max_count:
            self.fault(field, f"must have at most {max_count} entries; got {count}")

    def form(self, field: str, value: str, form: re.Pattern[str], rule: str) -> None:
        """Check that a text matches a pattern."""
        if not value:
            self.fault(field, "is required")
        elif not form.fullmatch(value):
            self.fault(field, f"value {shown(value)} must be {rule}")

    def struct(self, field: str, struct: Struct, max_bytes: int) -> bytes:
        """Return an encoded Struct, which must be what JSON can say, in at most `max_bytes` bytes.

        Fields that Struct does not have are dropped: they may be nested deeper than a reply can be.
        """
        struct.DiscardUnknownFields()
        raw = struct.SerializeToString(deterministic=True)
        if len(raw) > max_bytes:
            self.fault(field, f"must have at most {max_bytes} bytes encoded; got {len(raw)}")
            return raw
        faults = list(islice(broken_rules(field, struct, raw), _MAX_FAULTS_OF_STRUCTS - self._faults_of_structs))
        self._faults_of_structs += len(faults)
        self.violations += faults
        return raw

    def micros(self, field: str, value: Duration, low: int, high: int) -> int:
        """Return a duration in microseconds, which must be within bounds in microseconds."""
        if abs(value.nanos) >= NANOS_PER_SECOND or value.seconds * value.nanos < 0:
            self.fault(field, f"value of {value.seconds} s and {value.nanos} ns must be a valid Duration")
            return low
        micros = value.seconds * MICROS_PER_SECOND + value.nanos // NANOS_PER_MICROSECOND
        if not low <= micros <= high:
            self.fault(field, f"value {_seconds(micros)} must be from {_seconds(low)} to {_seconds(high)}")
            return low
        return micros

    def time(self, field: str, value: Timestamp) -> int:
        """Return a time in microseconds, which must be a valid Timestamp."""
        if not (_FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < NANOS_PER_SECOND):
            sent = f"{value.seconds} s and {value.nanos} ns after 1970"
            self.fault(field, f"value of {sent} must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z")
            return 0
        return value.seconds * MICROS_PER_SECOND + value.nanos // NANOS_PER_MICROSECOND
