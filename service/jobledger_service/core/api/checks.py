"""Checks of requests: all violations of a request are reported together, each with its field and value."""

import math
import re
from collections.abc import Collection
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.model.limits import KEY_ID, OWNER, SECOND
from jobledger_service.core.model.service_kinds import RESERVED, is_reserved
from jobledger_service.transport.structs import broken_rules

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
KIND: Final = re.compile(r"(?=.{1,128}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
LABEL: Final = re.compile(r"[A-Za-z0-9._/-]{1,63}")
_UNSAFE: Final = re.compile(r"[\s\x00-\x1f\x7f\\]")
_MAX_SHOWN: Final = 60
_MAX_FAULTS_OF_STRUCT: Final = 8
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
_SECOND_OF_NANOS: Final = 1_000_000_000

SCHEMES: Final = frozenset({"https", "http", "s3", "gs", "az", "abfs", "abfss", "r2", "minio"})


def shown(value: str) -> str:
    """Return a value that fits into a message."""
    return repr(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…")


class Checks:
    """Gathers violations; `done` refuses the request when there are any."""

    def __init__(self, schemes: Collection[str] = SCHEMES) -> None:
        self._violations: list[tuple[str, str]] = []
        self._schemes = schemes

    def fault(self, field: str, rule: str) -> None:
        """Record a violation."""
        self._violations.append((field, rule))

    def done(self) -> None:
        """Raise InvalidField when there was a violation."""
        if self._violations:
            raise InvalidField(*self._violations)

    def within(self, field: str, value: float, low: float, high: float) -> None:
        """Check that a number is within bounds, inclusive."""
        if not low <= value <= high or not math.isfinite(value):
            self.fault(field, f"{value} is not within {low} to {high}")

    def at_most(self, field: str, value: str, max_length: int, min_length: int = 0) -> None:
        """Check that a text has at most `most` characters, and at least `least`."""
        if len(value) < min_length:
            self.fault(field, "is required" if min_length == 1 else f"has fewer than {min_length} characters")
        elif len(value) > max_length:
            self.fault(field, f"has {len(value)} characters, more than {max_length}")
        elif "\x00" in value:
            self.fault(field, "has a NUL character")

    def count(self, field: str, count: int, max_count: int, min_count: int = 0) -> None:
        """Check that a list or map has at most `most` entries, and at least `least`."""
        if count < min_count:
            self.fault(field, "is required" if min_count == 1 else f"has {count} entries, fewer than {min_count}")
        elif count > max_count:
            self.fault(field, f"has {count} entries, more than {max_count}")

    def form(self, field: str, value: str, form: re.Pattern[str], rule: str) -> None:
        """Check that a text matches a pattern."""
        if not value:
            self.fault(field, "is required")
        elif not form.fullmatch(value):
            self.fault(field, f"{shown(value)} is not {rule}")

    def owner(self, field: str, value: str) -> None:
        """Check the form of an owner."""
        self.form(field, value, OWNER, "1 to 64 characters of A-Z a-z 0-9 . _ -, a letter or digit first")

    def job_id(self, field: str, value: str) -> None:
        """Check the form of a job_id."""
        self.form(field, value, JOB_ID, "1 to 128 characters of A-Z a-z 0-9 . _ : -, a letter or digit first")

    def kind(self, field: str, value: str) -> None:
        """Check the form of a kind."""
        self.form(field, value, KIND, "lower-case words of a-z 0-9 _ - joined by dots, at most 128 characters")

    def not_reserved(self, field: str, value: str) -> None:
        """Check that a kind is not the service's own."""
        if is_reserved(value):
            self.fault(field, f"{shown(value)}: kinds that begin with {RESERVED!r} are the service's own")

    def struct(self, field: str, struct: Struct, max_bytes: int) -> bytes:
        """Return an encoded Struct, which must be valid JSON, and have at most `most` bytes.

        Fields that Struct does not have are dropped: they may be nested deeper than a reply can be.
        """
        struct.DiscardUnknownFields()
        raw = struct.SerializeToString(deterministic=True)
        if len(raw) > max_bytes:
            self.fault(field, f"has {len(raw)} bytes encoded, more than {max_bytes}")
            return raw
        for path, rule in islice(broken_rules(field, struct, raw), _MAX_FAULTS_OF_STRUCT):
            self.fault(path, rule)
        return raw

    def micros(self, field: str, value: Duration, low: int, high: int) -> int:
        """Return a duration in microseconds, which must be within bounds in microseconds."""
        if abs(value.nanos) >= _SECOND_OF_NANOS or value.seconds * value.nanos < 0:
            self.fault(field, f"{value.seconds} s and {value.nanos} ns are not a Duration")
            return low
        micros = value.seconds * SECOND + value.nanos // 1_000
        if not low <= micros <= high:
            self.fault(field, f"{micros / SECOND:g} s is not within {low / SECOND:g} s to {high / SECOND:g} s")
            return low
        return micros

    def time(self, field: str, value: Timestamp) -> int:
        """Return a time in microseconds, which must be a valid Timestamp."""
        if not (_FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < _SECOND_OF_NANOS):
            self.fault(field, "is not within 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z")
            return 0
        return value.seconds * SECOND + value.nanos // 1_000

    def time_of_job(self, field: str, value: Timestamp) -> int:
        """Return a time of a job's own, in microseconds, which must not be before 1970."""
        time = self.time(field, value)
        if time < 0:
            self.fault(field, "is before 1970-01-01T00:00:00Z")
        return time

    def uri(self, field: str, value: str) -> None:
        """Check that a URI has a scheme that the operator allows; a local path is never valid."""
        if not value or len(value) > 2_048:  # noqa: PLR2004  the contract's bound
            self.at_most(field, value, 2_048, min_length=1)
            return
        allowed = ", ".join(sorted(self._schemes))
        try:
            parts = urlsplit(value)
        except ValueError:
            self.fault(field, f"{shown(value)} is not a URI")
            return
        if parts.scheme not in self._schemes:
            self.fault(field, f"{shown(value)} is not a URI with an allowed scheme: {allowed}")
        elif _UNSAFE.search(value) or not (parts.netloc or parts.scheme == "file"):
            self.fault(field, f"{shown(value)} is not a URI with a host or bucket and without spaces")


def check_key_id(checks: Checks, given: str) -> None:
    """Check the form of a key_id."""
    checks.form("key_id", given, KEY_ID, "the 12 hexadecimal digits of a key's id (never its token)")
