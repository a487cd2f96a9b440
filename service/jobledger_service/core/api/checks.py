"""Checks of requests: all violations of a request are reported together, each with its field and value."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from jobledger_service.core.model.bounds.limits import KEY_ID, OWNER
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.service_kinds import RESERVED, is_reserved
from jobledger_service.transport.encoding.structs import BROKEN, broken_rules, is_broken
from jobledger_service.transport.units import MICROS_PER_SECOND, NANOS_PER_MICROSECOND, NANOS_PER_SECOND

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
UID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KIND: Final = re.compile(r"(?=.{1,128}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
LABEL: Final = re.compile(r"[A-Za-z0-9._/-]{1,63}")
LABEL_FORM: Final = "a label: 1 to 63 characters of A-Z a-z 0-9 . _ / -"
_UNSAFE: Final = re.compile(r"[\s\x00-\x1f\x7f\\]")

Member = TypeVar("Member", bound=Enum)
Absent = TypeVar("Absent", int, None)

MAX_NUMBERS: Final = 100
"""Entries of a list of values that may repeat, such as states."""
MAX_UNIQUE_KEY_BYTES: Final = 255
MAX_NAMED_KINDS: Final = 100
_MAX_SHOWN: Final = 60
_MAX_FAULTS_OF_STRUCTS: Final = 8
"""The maximum of reported faults of all Structs of a request: naming one means walking through the Struct."""
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
SCHEMES: Final = frozenset({"https", "http", "s3", "gs", "az", "abfs", "abfss", "r2", "minio"})


def shown(value: str) -> str:
    """Return a value that fits into a message."""
    return repr(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…")


def must_be_one_of(value: object, allowed: Iterable[object]) -> str:
    """Return the violation of a value that is not one of those allowed."""
    return f"value {value} must be one of {', '.join(map(str, allowed))}"


def _seconds(micros: int) -> str:
    return f"{micros / MICROS_PER_SECOND:.15g} s"


class Checks:
    """Gathers the broken rules of fields as `violations`: each field's path with a sentence.

    `done`, or the end of a `with` block, refuses the request when there are any.
    """

    def __init__(self, schemes: Collection[str] = SCHEMES) -> None:
        self.violations: list[tuple[str, str]] = []
        self._schemes = schemes
        self._faults_of_structs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is None:
            self.done()

    def done(self) -> None:
        """Raise InvalidField when there was a violation since the last call."""
        if self.violations:
            violations, self.violations = self.violations, []
            raise InvalidField(*violations)

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
        """Check that a list or map has at least and at most so many entries; of one with more, no entry is checked."""
        if count < min_count:
            self.fault(
                field, "is required" if min_count == 1 else f"must have at least {min_count} entries; got {count}"
            )
        elif count > max_count:
            self.fault(field, f"must have at most {max_count} entries; got {count}")
            self.done()

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
        free = _MAX_FAULTS_OF_STRUCTS - self._faults_of_structs
        if free > 0:
            faults = list(islice(broken_rules(field, struct, raw), free))
            self._faults_of_structs += len(faults)
            self.violations += faults
        elif is_broken(raw):
            self.fault(field, BROKEN)
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

    def time(self, field: str, value: Timestamp) -> Micros:
        """Return a time in microseconds, which must be a valid Timestamp."""
        if not (_FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < NANOS_PER_SECOND):
            sent = f"{value.seconds} s and {value.nanos} ns after 1970"
            self.fault(field, f"value of {sent} must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z")
            return Micros(0)
        return Micros(value.seconds * MICROS_PER_SECOND + value.nanos // NANOS_PER_MICROSECOND)

    def numbers(self, field: str, sent: Sequence[int], known: Mapping[Any, Member]) -> list[Member]:
        """Return the values of an enumeration that a list has, which may name some again."""
        self.count(field, len(sent), MAX_NUMBERS)
        for index, number in enumerate(sent):
            if number not in known:
                self.one_of(f"{field}[{index}]", number, [member.name for member in known.values()])
        return [known[number] for number in sent if number in known]

    def member(self, field: str, number: int, known: Mapping[Any, Member], absent: Member) -> Member:
        """Return the value of an enumeration that a field has; `absent` is the meaning of UNSPECIFIED."""
        if number and number not in known:
            self.one_of(field, number, [value.name for value in known.values()])
        return known.get(number, absent)

    def span(self, request: Any, field: str, low: int, high: int, absent: Absent) -> int | Absent:  # noqa: ANN401  any with the field
        """Return a duration of a request, which must be within bounds, all in microseconds, or what absence means."""
        name = field.rpartition(".")[2]
        return self.micros(field, getattr(request, name), low, high) if request.HasField(name) else absent

    def owner(self, field: str, value: str) -> None:
        """Check the form of an owner."""
        self.form(field, value, OWNER, "1 to 64 characters of A-Z a-z 0-9 . _ -, a letter or digit first")

    def job_id(self, field: str, value: str) -> None:
        """Check the form of a job_id."""
        self.form(field, value, JOB_ID, "1 to 128 characters of A-Z a-z 0-9 . _ : -, a letter or digit first")

    def uid(self, field: str, value: str) -> None:
        """Check that a uid is empty or has its form."""
        if value:
            self.form(field, value, UID, "a job's uid: a UUID in lower case, as Job.uid shows it")

    def kind(self, field: str, value: str) -> None:
        """Check the form of a kind."""
        self.form(field, value, KIND, "lower-case words of a-z 0-9 _ - joined by dots, at most 128 characters")

    def kinds(self, field: str, values: Sequence[str]) -> None:
        """Check how many kinds a list has, and the form of each."""
        self.count(field, len(values), MAX_NAMED_KINDS)
        for index, value in enumerate(values):
            self.kind(f"{field}[{index}]", value)

    def job_ids(self, field: str, values: Sequence[str], max_count: int, min_count: int = 0) -> None:
        """Check how many job_ids a list has, and the form of each."""
        self.count(field, len(values), max_count, min_count)
        if all(map(JOB_ID.fullmatch, values)):
            return
        for index, value in enumerate(values):
            self.job_id(f"{field}[{index}]", value)

    def reason(self, value: str) -> None:
        """Check the length of the reason of a change."""
        self.at_most("reason", value, 1_024)

    def unique_key(self, field: str, value: str) -> None:
        """Check the length of a unique key, in bytes."""
        self.at_most(field, value, MAX_UNIQUE_KEY_BYTES)
        if (size := len(value.encode())) > MAX_UNIQUE_KEY_BYTES >= len(value):
            self.fault(field, f"must have at most {MAX_UNIQUE_KEY_BYTES} bytes; got {size}")

    def not_reserved(self, field: str, value: str, names: str = "kinds") -> None:
        """Check that a kind, or the name of another thing, is not the service's own."""
        if is_reserved(value):
            self.fault(field, f"value {shown(value)} must not begin with {RESERVED!r}, as the service's own {names} do")

    def time_of_job(self, field: str, value: Timestamp) -> Micros:
        """Return a time of a job's own, in microseconds, which must not be before 1970."""
        time = self.time(field, value)
        if time < 0:
            self.fault(field, f"value {value.ToJsonString()} must not be before 1970-01-01T00:00:00Z")
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
            self.fault(field, f"value {shown(value)} must be a URI")
            return
        if parts.scheme not in self._schemes:
            self.fault(field, f"value {shown(value)} must be a URI with an allowed scheme: {allowed}")
        elif _UNSAFE.search(value) or not (parts.netloc or parts.scheme == "file"):
            self.fault(field, f"value {shown(value)} must be a URI with a host or bucket and without spaces")


def check_key_id(checks: Checks, key_id: str) -> None:
    """Check the form of a key_id."""
    checks.form("key_id", key_id, KEY_ID, "the 12 hexadecimal digits of a key's id (never its token)")
