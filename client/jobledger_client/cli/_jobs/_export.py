"""The command that writes many jobs to a file."""

import base64
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from jobledger.v1.export_pb2 import ExportJobsRequest
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from jobledger_client._generated._enums import ExportFormat
from jobledger_client._requests import export_request
from jobledger_client._sync._exports import Export
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json
from jobledger_client.cli._choices import FORMATS, choice
from jobledger_client.cli._connection import Notice
from jobledger_client.cli._exit_codes import DONE, INTERRUPTED
from jobledger_client.cli._filter import add_filter_options
from jobledger_client.cli._jobs._partial_file import PartialFile
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "export",
        "jobledger export --format csv --out jobs.csv",
        "jobledger export --format csv --out jobs.csv --resume",
        "jobledger export --format jsonl --out - --state FAILED --column job_id --column error_message | jq",
        "jobledger export --format csv --out cost.csv --created-since 30d --label-column team",
    )(add_filter_options(export, reads=True))


def export(
    session: Session,
    *,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where to write; - for standard output.")],
    format: Annotated[  # noqa: A002 - the contract's name for it
        ExportFormat | None, choice(FORMATS, "How to write. [default: as FILE ends]", "--format")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A column to write; repeat it. [default: all]")
    ] = None,
    label_column: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A label to write in a column of its own; repeat it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the interrupted export to FILE, with its options.")
    ] = False,
    filter_fields: "JobFilterFields",
) -> int:
    """Write every job that matches to a file, oldest first, all as they are at one moment.

    An incomplete file is called FILE.part. After Ctrl-C, --resume continues with the jobs as they were at the start.
    """
    if resume:
        options = {
            "--format": format, "--column": column, "--label-column": label_column, "the filter": filter_fields
        }  # fmt: skip
        return _resume(session, out, [name for name, value in options.items() if value])
    request = export_request(format or _format_of(out), column or (), label_column or (), filter_fields)
    if out == "-":
        return _write_to_stdout(session, request)
    return _save(session, PartialFile(Path(out), request), out)


def _resume(session: Session, out: str, extra_options: Sequence[str]) -> int:
    if extra_options:
        raise typer.BadParameter(f"--resume keeps the options of the export; leave out {', '.join(extra_options)}")
    if out == "-":
        raise typer.BadParameter("--resume requires --out with a file; got '-', standard output")
    return _save(session, PartialFile.resume(Path(out)), out)


def _format_of(out: str) -> ExportFormat:
    ending = Path(out).suffix.lower().removeprefix(".")
    if ending not in ("csv", "jsonl", "ndjson"):
        raise typer.BadParameter(f"--format must be csv or jsonl where FILE has no such ending; got {out!r}")
    return ExportFormat.CSV if ending == "csv" else ExportFormat.JSON_LINES


def _save(session: Session, part: PartialFile, out: str) -> int:
    try:
        return _write(session, part, out)
    except OSError as error:
        raise typer.BadParameter(f"--out: {error.filename or out}: {error.strerror}") from error


def _write(session: Session, part: PartialFile, out: str) -> int:
    with part, session.client() as client, client.exports.resume_export(part.request) as pieces:
        try:
            with _Bar() as bar:
                for data in pieces:
                    part.write(data, pieces.resume_token)
                    bar.show(pieces)
            part.finish()
        except KeyboardInterrupt:
            if part.can_resume:
                _print_how_to_resume(session, pieces, out)
            return INTERRUPTED
    if session.as_json:
        cursor = base64.b64encode(pieces.cursor).decode()
        _json.print_value({"file": out, "rows": pieces.row_count, "cursor": cursor})
    else:
        session.console.print(f"{pieces.row_count:,} jobs in {out}", highlight=False, markup=False)
    _print_unreadable_rows(session, pieces)
    return DONE


def _print_unreadable_rows(session: Session, pieces: Export) -> None:
    if pieces.unreadable_row_count:
        message = f"{pieces.unreadable_row_count:,} jobs are unreadable; the column export_error has the reason"
        session.print_notice(Notice("EXPORT_UNREADABLE_ROWS", message))


def _print_how_to_resume(session: Session, pieces: Export, out: str) -> None:
    progress = f"interrupted at {formatting.percent(pieces.percent)}, {pieces.row_count:,} jobs"
    command = f"`jobledger export --out {shlex.quote(out)} --resume` continues"
    session.print_notice(Notice("EXPORT_INTERRUPTED", f"{progress}; {command}"))


def _write_to_stdout(session: Session, request: ExportJobsRequest) -> int:
    with session.client() as client, client.exports.resume_export(request) as pieces, _Bar() as bar:
        for data in pieces:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            bar.show(pieces)
    _print_unreadable_rows(session, pieces)
    return DONE


class _Bar:
    """A context manager that shows the progress of an export on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]:,} jobs"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=100, rows=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, pieces: Export) -> None:
        """Show the progress."""
        self._progress.update(self._task, completed=pieces.percent, rows=pieces.row_count)
