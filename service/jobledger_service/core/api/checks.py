"""Checks of what all requests about jobs share: owners, job ids, kinds, times and URIs."""

import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from google.protobuf.timestamp_pb2 import Timestamp

from jobledger_service.core.model.errors import InvalidField
from jobledger_service.core.model.limits import KEY_ID, OWNER
from jobledger_service.core.model.service_kinds import RESERVED, is_reserved
from jobledger_service.transport.checks import FieldChecks, shown

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
UID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KIND: Final = re.compile(r"(?=.{1,128}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
LABEL: Final = re.compile(r"[A-Za-z0-9._/-]{1,63}")
LABEL_FORM: Final = "a label: 1 to 63 characters of A-Z a-z 0-9 . _ / -"
_UNSAFE: Final = re.compile(r"[\s\x00-\x1f\x7f\\]")

Member = TypeVar("Member", bound=Enum)

MAX_NUMBERS: Final = 100
"""Entries of a list of values that may repeat, such as states."""
MAX_UNIQUE_KEY_BYTES: Final = 255
MAX_NAMED_KINDS: Final = 100
SCHEMES: Final = frozenset({"https", "http", "s3", "gs", "az", "abfs", "abfss", "r2", "minio"})


class Checks(FieldChecks):
    """Gathers violations; `done`, or the end of a `with` block, refuses the request when there are any."""

    def __init__(self, schemes: Collection[str] = SCHEMES) -> None:
        super().__init__()
        self._schemes = schemes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is None:
            self.done()

    def done(self) -> None:
        """Raise InvalidField when there was a violation."""
        if self.violations:
            raise InvalidField(*self.violations)

    def count(self, field: str, count: int, max_count: int, min_count: int = 0) -> None:
        """Check that a list has at least and at most so many entries; of one with more, no entry is checked."""
        super().count(field, count, max_count, min_count)
        if count > max_count:
            self.done()

    def numbers(self, field: str, given: Sequence[int], known: Mapping[Any, Member]) -> list[Member]:
        """Return the values of an enumeration that a list has, which may name some again."""
        self.count(field, len(given), MAX_NUMBERS)
        for index, number in enumerate(given):
            if number not in known:
                self.one_of(f"{field}[{index}]", number, [one.name for one in known.values()])
        return [known[number] for number in given if number in known]

    def owner(self, field: str, value: str) -> None:
        """Check the form of an owner."""
        self.form(field, value, OWNER, "1 to 64 characters of A-Z a-z 0-9 . _ -, a letter or digit first")

    def job_id(self, field: str, value: str) -> None:
        """Check the form of a job_id."""
        self.form(field, value, JOB_ID, "1 to 128 characters of A-Z a-z 0-9 . _ : -, a letter or digit first")

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

    def not_reserved(self, field: str, value: str) -> None:
        """Check that a kind is not the service's own."""
        if is_reserved(value):
            self.fault(field, f"value {shown(value)} must not begin with {RESERVED!r}, as the service's own kinds do")

    def time_of_job(self, field: str, value: Timestamp) -> int:
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


def check_key_id(checks: Checks, given: str) -> None:
    """Check the form of a key_id."""
    checks.form("key_id", given, KEY_ID, "the 12 hexadecimal digits of a key's id (never its token)")
