"""A file that is written in parts: FILE.part until it is complete, and beside it the state to resume from."""

import os
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from google.protobuf.json_format import ParseError
from jobledger.v1.export_pb2 import ExportJobsRequest

from jobledger_client.cli import _json

_SAVE_SECONDS = 1.0  # between two writes of the state


class PartialFile:
    """A context manager around FILE.part. `write` appends; `finish` renames it to FILE.

    FILE.part.json has the request and the progress, so that another process can resume.
    """

    def __init__(self, file: Path, request: ExportJobsRequest, size: int = 0) -> None:
        """`size` is how many bytes of FILE.part are valid already."""
        self.request = request
        self._file = file
        self._part, self._state_file = _paths(file)
        self._progress = (size, request.resume_token)
        self._saved_at = 0.0

    @classmethod
    def resume(cls, file: Path) -> Self:
        """Return the file as an earlier process left it. Raises ValueError without an interrupted export."""
        part, state_file = _paths(file)
        try:
            state = _json.loads(state_file.read_text(encoding="utf-8"))
            size = int(state["size"])
            request = _json.parse_message(_json.dumps(state["request"]), ExportJobsRequest())
            part_size = part.stat().st_size
        except FileNotFoundError:
            raise ValueError(f"--resume: {file} has no interrupted export; start one without --resume") from None
        except (ValueError, KeyError, TypeError, ParseError):
            raise ValueError(f"--resume: {state_file} is damaged; start again without --resume") from None
        if part_size < size:
            raise ValueError(f"--resume: {part} must have {size} bytes; got {part_size}; start again without --resume")
        return cls(file, request, size)

    def __enter__(self) -> Self:
        size, _ = self._progress
        try:
            self._data = self._part.open("r+b" if size else "wb")
            self._data.truncate(size)
            self._data.seek(size)
            if not self.can_resume:
                self._state_file.unlink(missing_ok=True)  # of an earlier export, which this one replaces
        except KeyboardInterrupt:
            if not self.can_resume:
                self._part.unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._data.closed:
            return
        if self.can_resume:
            self._save_state()
        self._data.close()
        if not self.can_resume:
            self._part.unlink()

    @property
    def can_resume(self) -> bool:
        """Whether the file has a piece after which the export can resume."""
        return any(self._progress)

    def write(self, data: bytes, resume_token: str) -> None:
        """Append a piece; the export resumes after it with the token, which is empty for the last piece.

        An export that is interrupted after its last piece resumes before that piece.
        """
        self._data.write(data)
        if not resume_token:
            return
        self._progress = (self._data.tell(), resume_token)  # one assignment, as Ctrl-C may come at any time
        if monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save_state()

    def _save_state(self) -> None:
        """Save the progress, after the data that it describes."""
        self._data.flush()
        size, self.request.resume_token = self._progress
        state = {"size": size, "request": _json.to_value(self.request)}
        new_file = self._state_file.with_name(f"{self._state_file.name}.new")
        new_file.write_text(_json.dumps(state), encoding="utf-8")
        new_file.replace(self._state_file)
        self._saved_at = monotonic()

    def finish(self) -> None:
        """Write the file to disk and rename it."""
        self._data.flush()
        os.fsync(self._data.fileno())
        self._data.close()
        self._part.replace(self._file)
        self._state_file.unlink(missing_ok=True)


def _paths(file: Path) -> tuple[Path, Path]:
    return file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.json")
