"""The command that follows a job, and what `--wait` shares with it."""

import base64
import binascii
import sys
from typing import Annotated

import typer
from jobledger.v1.job_pb2 import JobView
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchMessageType, WatchMode
from rich.console import Console

from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._bars import Bars
from jobledger_client.cli._exits import BY_STATE, NOT_FOUND
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "watch",
        """jobledger watch JOB_ID && echo done""",
        """jobledger watch JOB_ID --output json | jq -r .job.progress.percent""",
    )(watch)


def watch(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    *,
    every: Annotated[bool, typer.Option("--every", help="Merge no revisions when this end is slow.")] = False,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Resume after this cursor, as --output json shows it.")
    ] = None,
    bookmarks: Annotated[bool, typer.Option("--bookmarks", help="With JSON, also print bookmarks.")] = False,
) -> int:
    """Follow a job until it has ended, over restarts of the server.

    Exits with 0 when the job is COMPLETED, 1 when FAILED, 2 when CANCELLED, and 66 when it was deleted.
    """
    mode = WatchMode.WATCH_MODE_EVERY if every else WatchMode.WATCH_MODE_LATEST
    with session.client() as client:
        if session.as_json:
            return _print(client, job_id, mode=mode, cursor=_cursor(cursor), bookmarks=bookmarks)
        return _show(client, session.console, job_id, mode=mode, cursor=_cursor(cursor))


def wait(session: Session, client: JobClient, job_id: str) -> int:
    """Follow a job until it has ended; for JSON, print the job as it ended. Return the exit code for its state."""
    if not session.as_json:
        return _show(client, session.console, job_id)
    job = client.wait(job_id)
    _json.document(job)
    return BY_STATE[job.state]


def _show(
    client: JobClient,
    console: Console,
    job_id: str,
    *,
    mode: WatchMode.ValueType = WatchMode.WATCH_MODE_LATEST,
    cursor: bytes = b"",
) -> int:
    last = WatchJobResponse()
    with Bars(console) as bars, client.watch(job_id, mode=mode, cursor=cursor) as messages:
        for last in messages:
            bars.show(last)
    if left_behind := _tables.outcome(last.job):
        console.print(left_behind)
    return _exit_code(client, job_id, last)


def _print(client: JobClient, job_id: str, *, mode: WatchMode.ValueType, cursor: bytes, bookmarks: bool) -> int:
    last = WatchJobResponse()
    with client.watch(job_id, mode=mode, cursor=cursor, bookmarks=bookmarks) as messages:
        for message in messages:
            _json.line(message)
            last = message if message.type != WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK else last
    return _exit_code(client, job_id, last)


def _exit_code(client: JobClient, job_id: str, last: WatchJobResponse) -> int:
    if last.type == WatchMessageType.WATCH_MESSAGE_TYPE_DELETED:
        print(f"jobledger: job {last.job.job_id} was deleted", file=sys.stderr)
        return NOT_FOUND
    if not last.HasField("job"):  # the job had ended before the cursor
        return BY_STATE[client.get_job(job_id, view=JobView.JOB_VIEW_BASIC).state]
    return BY_STATE[last.job.state]


def _cursor(word: str | None) -> bytes:
    try:
        return base64.b64decode(word or "", validate=True)
    except binascii.Error as error:
        raise typer.BadParameter(f"--cursor: {word!r} is not base64") from error
