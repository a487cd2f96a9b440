"""The command that imports jobs of another system."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated

import typer
from google.protobuf.json_format import ParseError
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsResponse
from rich.console import Console

from jobledger_client._structs import struct
from jobledger_client.cli import _json
from jobledger_client.cli._exit_codes import REFUSED
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

    Exits with 65 if the server refused a job; it imports the others. An invalid line ends the import with 2: the server
    imports the jobs before it, not those after it.
    """
    console = Console(stderr=True, force_interactive=None)
    with _open(file) as lines, session.client() as client, console.status("importing") as status:
        jobs = _Jobs(lines)
        counts = client.imports.import_jobs(jobs, on_progress=lambda so_far: status.update(_summary(so_far)))
    if session.as_json:
        _json.print_message(counts)
    else:
        _print_counts(counts, jobs.line_numbers)
    if jobs.error:
        imported = f"{counts.imported + counts.unchanged:,} jobs before it were imported"
        raise typer.BadParameter(
            f"{jobs.error}; {imported}: correct the line and send the file again, which imports nothing twice"
        )
    return REFUSED if counts.refused else 0


def _open(file: Path) -> "nullcontext[IO[bytes]] | IO[bytes]":
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None


class _Jobs:
    """The jobs in lines of JSON, up to the first invalid line.

    `line_numbers` are the lines of the jobs; `error` is that of the invalid line, empty without one.
    """

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self.line_numbers: list[int] = []
        self.error = ""

    def __iter__(self) -> Iterator[ImportedJob]:
        for number, line in enumerate(self._lines, 1):
            if not line.strip():
                continue
            try:
                job = _job(line)
            except (ParseError, UnicodeDecodeError, RecursionError) as error:
                self.error = f"line {number} must be an ImportedJob in JSON: {str(error).rstrip('.')}"
                return
            except ValueError as error:
                self.error = f"line {number}: {error}"
                return
            self.line_numbers.append(number)
            yield job


def _job(line: bytes) -> ImportedJob:
    """Return the job of a line. Raises ValueError for a value that a Struct cannot hold without loss."""
    job = _json.parse_message(line, ImportedJob())
    value = _json.loads(line)
    spec = value.get("job") or {}
    struct(spec.get("input"), "job.input")
    for index, chunk in enumerate(spec.get("chunks") or ()):
        struct(chunk.get("input"), f"job.chunks[{index}].input")
    struct(value.get("output"), "output")
    for index, chunk in enumerate(value.get("chunks") or ()):
        struct(chunk.get("output"), f"chunks[{index}].output")
    for name, artifact in (value.get("artifacts") or {}).items():
        struct(artifact.get("metadata"), f'artifacts["{name}"].metadata')
    return job


def _summary(counts: ImportJobsResponse) -> str:
    return f"{counts.imported:,} imported, {counts.unchanged:,} unchanged, {counts.refused:,} refused"


def _print_counts(counts: ImportJobsResponse, line_numbers: list[int]) -> None:
    print(_summary(counts))
    for refusal in counts.refusals:
        print(
            f"line {line_numbers[refusal.number]} ({refusal.job_id or 'without a job_id'}): {refusal.error.message}",
            file=sys.stderr,
        )
