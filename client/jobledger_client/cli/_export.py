"""The command that writes many jobs into a file."""

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

from jobledger_client._requests import export_request
from jobledger_client._sync._exports import Export
from jobledger_client.cli._choices import Format, choice
from jobledger_client.cli._exits import DONE, INTERRUPTED
from jobledger_client.cli._filter import add_filter
from jobledger_client.cli._liveness import Notice
from jobledger_client.cli._partial import PartialFile
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
    )(add_filter(export, reads=True))


def export(
    session: Session,
    *,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where to write; - for standard output.")],
    format: Annotated[  # noqa: A002 - the contract's name for it
        Format | None, choice(Format, "How to write. [default: as FILE ends]", "--format")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A column to write; repeat it. [default: all]")
    ] = None,
    label_column: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A label to write in a column of its own; repeat it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the export to FILE that was interrupted, as it was asked for.")
    ] = False,
    wanted: "JobFilterFields",
) -> int:
    """Write every job that matches into a file, oldest first, all as they are at one moment.

    While it is being written the file is called FILE.part. After Ctrl-C, --resume goes on, and shows the jobs as they
    were when it began.
    """
    if resume:
        asked = {"--format": format, "--column": column, "--label-column": label_column, "what picks jobs": wanted}
        return _go_on(session, out, [name for name, given in asked.items() if given])
    request = export_request(format or _format_of(out), column or (), label_column or (), wanted)
    if out == "-":
        return _print(session, request)
    return _save(session, PartialFile(Path(out), request), out)


def _go_on(session: Session, out: str, again: Sequence[str]) -> int:
    if again:
        raise typer.BadParameter(f"--resume goes on as it was asked for: leave out {', '.join(again)}")
    if out == "-":
        raise typer.BadParameter("--resume needs a file: with --out - there is nothing to go on with")
    return _save(session, PartialFile.resume(Path(out)), out)


def _format_of(out: str) -> str:
    ending = Path(out).suffix.lower().removeprefix(".")
    if ending not in ("csv", "jsonl", "ndjson"):
        raise typer.BadParameter(f"--format: say csv or jsonl; {out!r} does not tell")
    return "csv" if ending == "csv" else "jsonl"


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
            if part.can_go_on:
                _say_how_to_go_on(session, pieces, out)
            return INTERRUPTED
    if session.as_json:
        cursor = base64.b64encode(pieces.cursor).decode()
        session.console.print_json(data={"file": out, "rows": pieces.rows, "cursor": cursor})
    else:
        session.console.print(f"{pieces.rows:,} jobs in {out}", highlight=False, markup=False)
    _say_what_is_unreadable(session, pieces)
    return DONE


def _say_what_is_unreadable(session: Session, pieces: Export) -> None:
    if pieces.unreadable_rows:
        said = f"{pieces.unreadable_rows:,} jobs could not be shown; the column export_error says why"
        session.notice(Notice("EXPORT_UNREADABLE_ROWS", said))


def _say_how_to_go_on(session: Session, pieces: Export, out: str) -> None:
    reached = f"interrupted at {pieces.percent:.1f} %, {pieces.rows:,} jobs"
    way = f"`jobledger export --out {shlex.quote(out)} --resume` goes on"
    session.notice(Notice("EXPORT_INTERRUPTED", f"{reached}; {way}"))


def _print(session: Session, request: ExportJobsRequest) -> int:
    with session.client() as client, client.exports.resume_export(request) as pieces, _Bar() as bar:
        for data in pieces:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            bar.show(pieces)
    _say_what_is_unreadable(session, pieces)
    return DONE


class _Bar:
    """A context manager that shows on standard error how far an export is, when that is a terminal."""

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
        """Show how far it is."""
        self._progress.update(self._task, completed=pieces.percent, rows=pieces.rows)
