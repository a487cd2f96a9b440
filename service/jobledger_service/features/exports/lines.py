"""Jobs as lines of text, CSV and JSON Lines: the columns, what each takes from a job, and how they are written."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, get_origin

from jobledger.v1 import export_pb2, job_pb2
from msgspec import json, to_builtins
from msgspec.structs import fields

from jobledger_service.core.api import convert
from jobledger_service.core.api.message_functions import reading
from jobledger_service.core.api.parse import FROM_MESSAGES
from jobledger_service.core.model.bounds.limits import MAX_TIME, SECOND
from jobledger_service.core.model.chunk import Artifact, Artifacts, WorkError
from jobledger_service.core.model.compiled import compiled
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.fields import JOB_FIELDS, plain_type
from jobledger_service.core.model.job import Job, StageTiming, job_id_of, owner_of
from jobledger_service.core.model.micros import Micros

from .store import ExportKey

Value = Any
"""What JSON has: a string, a number, true or false, null, a list, or a mapping."""

MAX_ERROR_LENGTH: Final = 300

_FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What begins a formula in some spreadsheet, or leads to one (https://owasp.org/www-community/attacks/CSV_Injection,
ASVS 5.0, 1.2.10); the last four are the full-width forms of the first."""
_BLANKS: Final = re.compile(r"^[\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
"""Spaces and invisible characters: soft hyphens, joiners, marks of direction and of byte order."""


def _when(micros: int | None) -> str | None:
    return None if micros is None else time_text(micros)


def _timing(timing: StageTiming) -> Value:
    return {
        "stage": timing.stage,
        "seconds": timing.duration / SECOND,
        "start_time": _when(timing.start_time),
        "end_time": _when(timing.end_time),
    }


def _artifact(artifact: Artifact) -> Value:
    metadata = None if artifact.metadata is None else convert.struct_content(artifact.metadata)
    return {
        "uri": artifact.uri,
        "content_type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "metadata": None if metadata is None else to_builtins(metadata, order="deterministic"),
        "create_time": _when(artifact.create_time),
    }


def _seconds(since: Micros | None, until: int | None) -> float | None:
    return None if since is None or until is None else (until - since) / SECOND


def _exported(scope: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield each column: its name, the expression of what it takes from a message, and the type of that."""
    times: dict[str, str] = {}
    for field in JOB_FIELDS:
        if not field.export:
            continue
        plain = plain_type(Job, field.path)[0]
        value = reading(Job, field, job_pb2.Job.DESCRIPTOR, scope)
        if plain is WorkError:
            for inside in fields(WorkError):
                yield f"{field.export}_{inside.name}", f"(error := {value}) and error.{inside.name}", inside.type
        elif plain == tuple[StageTiming, ...]:
            yield field.export, f"[timing(stage) for stage in {value}]", plain
        elif get_origin(plain) is not None:  # a mapping
            shown = "artifact(value)" if plain == Artifacts else "value"
            yield field.export, f"{{name: {shown} for name, value in sorted({value}.items())}}", plain
        elif field.export.endswith("_time"):
            times[field.export] = value
            yield field.export, f"when({value})", plain
        elif field.export.endswith("_seconds"):
            yield field.export, f"seconds(0, {value})", float
        else:
            yield field.export, f"{value}.value" if issubclass(plain, Enum) else value, plain
    created, started, ended = (times[name] for name in ("create_time", "start_time", "end_time"))
    # A job does not record when a later run began to wait.
    yield "waiting_seconds", f"None if message.retry_count else seconds({created}, {started})", float
    yield "processing_seconds", f"seconds({started}, {ended})", float
    yield "export_error", "None", str


_SCOPE: Final[dict[str, Any]] = {
    **FROM_MESSAGES,
    "when": _when,
    "timing": _timing,
    "artifact": _artifact,
    "seconds": _seconds,
}
_EXPORTED: Final = tuple(_exported(_SCOPE))
EXPORT_COLUMNS: Final = tuple(name for name, _, _ in _EXPORTED)
"""All columns, in the order in which they are written by default."""

STRUCTURED: Final = frozenset(name for name, _, type_ in _EXPORTED if get_origin(type_) in (tuple, Mapping))
"""Columns that hold a list or a mapping."""

FOREIGN: Final = frozenset(name for name, _, type_ in _EXPORTED if type_ is str)
"""Columns that contain text of callers and workers."""

values: Final[Callable[[job_pb2.Job], Sequence[Value]]] = compiled(
    "values", "message", [f"return ({', '.join(value for _, value, _ in _EXPORTED)})"], _SCOPE
)
"""Returns what all columns hold, in their order, of a job in view BASIC."""


def unreadable_values(place: ExportKey, error: Exception) -> Sequence[Value]:
    """Return the values of all columns for a job that cannot be shown: its known fields, and the reason."""
    known = {
        "job_id": job_id_of(place.job_key),
        "owner": owner_of(place.job_key),
        "create_time": _when(min(max(place.create_time, 0), MAX_TIME)),
        "export_error": f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH],
    }
    return [known.get(name) for name in EXPORT_COLUMNS]


class Lines(ABC):
    """How jobs are written. `mark` names the form, so that a token fits no other; `head` comes before the first job."""

    head: bytes = b""

    def __init__(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        self._labels = labels
        self._places = [EXPORT_COLUMNS.index(name) for name in columns]
        self.names = [*columns, *(f"label.{label}" for label in labels)]

    @property
    def mark(self) -> str:
        """The name of the format."""
        return json.encode([type(self).__name__, *self.names]).decode()

    def of_job(self, job: job_pb2.Job) -> bytes:
        """Return a job in view BASIC, written."""
        row = values(job)
        return self._line([*[row[place] for place in self._places], *map(job.labels.get, self._labels)])

    def of_unreadable(self, place: ExportKey, error: Exception) -> bytes:
        """Return a line for a job that cannot be shown: its known fields, and the reason."""
        row = unreadable_values(place, error)
        return self._line([*[row[index] for index in self._places], *(None for _ in self._labels)])

    @abstractmethod
    def _line(self, values: list[Value]) -> bytes:
        """Return values, written."""


class _Line:
    """The target of the csv module: it returns each line."""

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
    """Return how jobs are written in a format: these columns, by default all, and those of labels."""
    form = CsvLines if format_ == export_pb2.EXPORT_FORMAT_CSV else JsonLines
    return form(columns or EXPORT_COLUMNS, labels)
