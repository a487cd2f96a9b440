"""The command that brings jobs along from another system."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated

import typer
from google.protobuf.json_format import Parse, ParseError
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsResponse
from rich.console import Console

from jobledger_client._structs import struct
from jobledger_client.cli import _json
from jobledger_client.cli._exits import REFUSED
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "import", "jobledger import jobs.jsonl", "old-system-dump | jobledger import -")(import_jobs)


def import_jobs(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="One ImportedJob in JSON a line, or - for standard input.")
    ],
) -> int:
    """Import jobs with their times and states; importing a file again changes nothing.

    Exits with 65 when a job was refused; the others are taken all the same. A line that is no job ends the import with
    2: the jobs before it are taken, those after it are not.
    """
    console = Console(stderr=True, force_interactive=None)
    with _opened(file) as lines, session.client() as client, console.status("importing") as status:
        read = _Jobs(lines)
        said = client.imports.import_jobs(read, on_progress=lambda so_far: status.update(_sentence(so_far)))
    if session.as_json:
        _json.document(said)
    else:
        _say(said, read.numbers)
    if read.fault:
        taken = f"{said.imported + said.unchanged:,} jobs before it were taken"
        again = "mend the line and send the file again, what is taken is not taken twice"
        raise typer.BadParameter(f"{read.fault}; {taken}: {again}")
    return REFUSED if said.refused else 0


def _opened(file: Path) -> "nullcontext[IO[bytes]] | IO[bytes]":
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None


class _Jobs:
    """The jobs in lines of JSON, up to the first line that is no job.

    `numbers` are the lines that they are in; `fault` says what is wrong with the line at which they end, if one is.
    """

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self.numbers: list[int] = []
        self.fault = ""

    def __iter__(self) -> Iterator[ImportedJob]:
        for number, line in enumerate(self._lines, 1):
            if not line.strip():
                continue
            try:
                job = _job(line)
            except (ParseError, UnicodeDecodeError, RecursionError) as error:
                self.fault = f"line {number} is not an ImportedJob in JSON: {str(error).rstrip('.')}"
                return
            except ValueError as error:
                self.fault = f"line {number}: {error}"
                return
            self.numbers.append(number)
            yield job


def _job(line: bytes) -> ImportedJob:
    """Return the job of a line. Raises ValueError for an input or metadata that a Struct cannot hold without loss."""
    job = Parse(line, ImportedJob())
    as_written = json.loads(line)
    described = as_written.get("job") or {}
    struct(described.get("input"), "job.input")
    for index, chunk in enumerate(described.get("chunks") or ()):
        struct(chunk.get("input"), f"job.chunks[{index}].input")
    for name, artifact in (as_written.get("artifacts") or {}).items():
        struct(artifact.get("metadata"), f'artifacts["{name}"].metadata')
    return job


def _sentence(said: ImportJobsResponse) -> str:
    return f"{said.imported:,} imported, {said.unchanged:,} unchanged, {said.refused:,} refused"


def _say(said: ImportJobsResponse, numbers: list[int]) -> None:
    print(_sentence(said))
    for refusal in said.refusals:
        print(
            f"line {numbers[refusal.number]} ({refusal.job_id or 'without a job_id'}): {refusal.message}",
            file=sys.stderr,
        )
