"""Jobs as lines of text: CSV and JSON Lines."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from jobledger.v1 import export_pb2
from jobledger.v1.job_pb2 import Job
from msgspec import json

from .columns import COLUMNS, FOREIGN, STRUCTURED, Value, unreadable_values, values
from .page import ExportKey

_FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What begins a formula in some spreadsheet, or leads to one (https://owasp.org/www-community/attacks/CSV_Injection,
ASVS 5.0, 1.2.10); the last four are the full-width forms of the first."""
_BLANKS: Final = re.compile(r"^[\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
"""Spaces and invisible characters: soft hyphens, joiners, marks of direction and of byte order."""


class Lines(ABC):
    """How jobs are written. `mark` names the form, so that a token fits no other; `head` comes before the first job."""

    head: bytes = b""

    def __init__(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        self._labels = labels
        self._places = [COLUMNS.index(name) for name in columns]
        self.names = [*columns, *(f"label.{label}" for label in labels)]

    @property
    def mark(self) -> str:
        """The name of the format."""
        return json.encode([type(self).__name__, *self.names]).decode()

    def of_job(self, job: Job) -> bytes:
        """Return a job in view BASIC, written."""
        found = values(job)
        return self._line([*[found[place] for place in self._places], *map(job.labels.get, self._labels)])

    def of_unreadable(self, place: ExportKey, error: Exception) -> bytes:
        """Return a line for a job that cannot be shown: its known fields, and the reason."""
        found = unreadable_values(place, error)
        return self._line([*[found[index] for index in self._places], *(None for _ in self._labels)])

    @abstractmethod
    def _line(self, values: list[Value]) -> bytes:
        """Return values, written."""


class _Line:
    """The target of the csv module: it returns what it is given."""

    def write(self, line: str) -> str:
        return line


class CsvLines(Lines):
    """Comma-separated values as RFC 4180 has them, with a header, in UTF-8."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__(columns, labels)
        self._foreign = [place for place, name in enumerate(self.names) if name in FOREIGN or name.startswith("label.")]
        self._structured = [place for place, name in enumerate(self.names) if name in STRUCTURED]
        self._write: Callable[[Iterable[Value]], str] = csv.writer(_Line(), lineterminator="\r\n").writerow
        self.head = self._write(self.names).encode()

    def _line(self, values: list[Value]) -> bytes:
        for place in self._foreign:
            if values[place]:
                values[place] = guarded(values[place])
        for place in self._structured:
            values[place] = json.encode(values[place]).decode() if values[place] else ""
        return self._write(values).encode()


def guarded(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: what looks like one is preceded by an apostrophe.

    Blanks and marks without width before it do not count, as an importer may take them away.
    """
    looks_so = text[0] in _FORMULA or _BLANKS.sub("", text)[:1] in _FORMULA
    return f"'{text}" if looks_so else text


class JsonLines(Lines):
    """One JSON object a line, in UTF-8; null where there is nothing."""

    def _line(self, values: list[Value]) -> bytes:
        return json.encode(dict(zip(self.names, values, strict=True))) + b"\n"


def lines_of(format_: int, columns: Sequence[str], labels: Sequence[str]) -> Lines:
    """Return how jobs are written in a format: these columns, all when there are none, and those of labels."""
    form = CsvLines if format_ == export_pb2.EXPORT_FORMAT_CSV else JsonLines
    return form(columns or COLUMNS, labels)
