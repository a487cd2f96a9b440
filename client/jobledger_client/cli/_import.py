"""The command that brings jobs along from another system."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated

import typer
from google.protobuf.json_format import Parse, ParseError
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsResponse
from rich.console import Console

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

    Exits with 65 when a job was refused; the others are taken all the same.
    """
    console = Console(stderr=True, force_interactive=None)
    numbers: list[int] = []
    with _opened(file) as lines, session.client() as client, console.status("importing") as status:
        said = client.import_jobs(_jobs(lines, numbers), on_progress=lambda so_far: status.update(_sentence(so_far)))
    if session.as_json:
        _json.document(said)
    else:
        _say(said, numbers)
    return REFUSED if said.refused else 0


def _opened(file: Path) -> "nullcontext[IO[str]] | IO[str]":
    if str(file) == "-":
        return nullcontext(sys.stdin)
    try:
        return file.open(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None


def _jobs(lines: IO[str], numbers: list[int]) -> Iterator[ImportedJob]:
    """Yield the jobs, and note the line that each is in."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            numbers.append(number)
            try:
                yield Parse(line, ImportedJob())
            except ParseError as error:
                raise typer.BadParameter(f"line {number} is not an ImportedJob in JSON: {error}") from None


def _sentence(said: ImportJobsResponse) -> str:
    return f"{said.imported:,} imported, {said.unchanged:,} unchanged, {said.refused:,} refused"


def _say(said: ImportJobsResponse, numbers: list[int]) -> None:
    print(_sentence(said))
    for refusal in said.refusals:
        print(
            f"line {numbers[refusal.number]} ({refusal.job_id or 'without a job_id'}): {refusal.message}",
            file=sys.stderr,
        )
