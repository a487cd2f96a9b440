"""A file that is written in parts: FILE.part until it is whole, and beside it where to go on."""

import json
import os
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from jobledger.v1.export_pb2 import ExportJobsRequest

_NOTED_EVERY = 1.0  # seconds


class PartialFile:
    """A context manager around FILE.part. `write` appends; `finish` makes it FILE.

    What was asked for and how far it came is noted in FILE.part.json, so that another process can go on.
    """

    def __init__(self, file: Path, request: ExportJobsRequest, size: int = 0) -> None:
        """Take what is asked for, and how many bytes of FILE.part are there already and hold."""
        self.request = request
        self._file = file
        self._part, self._note = _beside(file)
        self._reached = (size, request.resume_token)
        self._noted = 0.0

    @classmethod
    def resume(cls, file: Path) -> Self:
        """Return the file as an earlier process left it. Raises ValueError when there is nothing to go on with."""
        part, note = _beside(file)
        try:
            told = json.loads(note.read_text(encoding="utf-8"))
            size, request = int(told["size"]), Parse(json.dumps(told["request"]), ExportJobsRequest())
            there = part.stat().st_size
        except FileNotFoundError:
            raise ValueError(f"--resume: there is no unfinished export to {file}: begin one without --resume") from None
        except (ValueError, KeyError, TypeError, ParseError):
            raise ValueError(f"--resume: {note} is damaged: begin again without --resume") from None
        if there < size:
            raise ValueError(f"--resume: {part} is shorter than it was: begin again without --resume")
        return cls(file, request, size)

    def __enter__(self) -> Self:
        size, _ = self._reached
        try:
            self._data = self._part.open("r+b" if size else "wb")
            self._data.truncate(size)
            self._data.seek(size)
            if not self.can_go_on:
                self._note.unlink(missing_ok=True)  # of an earlier export to this file, which this one replaces
        except KeyboardInterrupt:
            if not self.can_go_on:
                self._part.unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._data.closed:
            return
        if self.can_go_on:
            self._write_note()
        self._data.close()
        if not self.can_go_on:
            self._part.unlink()

    @property
    def can_go_on(self) -> bool:
        """Whether there is a piece after which the export can go on."""
        return any(self._reached)

    def write(self, data: bytes, resume_token: str) -> None:
        """Append a piece, after which the export goes on with a token; after the last there is none.

        What is interrupted after the last piece, as while the file is brought to disk, goes on before that piece.
        """
        self._data.write(data)
        if not resume_token:
            return
        self._reached = (self._data.tell(), resume_token)  # together, wherever Ctrl-C comes
        if monotonic() - self._noted >= _NOTED_EVERY:
            self._write_note()

    def _write_note(self) -> None:
        """Note how far it came, never further than what is in the file."""
        self._data.flush()
        size, self.request.resume_token = self._reached
        request = json.loads(MessageToJson(self.request))
        fresh = self._note.with_name(f"{self._note.name}.new")
        fresh.write_text(json.dumps({"size": size, "request": request}), encoding="utf-8")
        fresh.replace(self._note)
        self._noted = monotonic()

    def finish(self) -> None:
        """Give the file its name, once it is on disk."""
        self._data.flush()
        os.fsync(self._data.fileno())
        self._data.close()
        self._part.replace(self._file)
        self._note.unlink(missing_ok=True)


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.json")
