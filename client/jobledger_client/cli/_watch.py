"""The command that follows a job, and `--wait` of other commands."""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated

import grpc
import typer
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse

from jobledger_client._enums import JobState, JobView, WatchMessageType, WatchMode
from jobledger_client._errors import DeadlineExceededError, JobNotFoundError
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._bars import Bars, WatchedJob
from jobledger_client.cli._choices import JobId, Owner
from jobledger_client.cli._connection import Connection, Notice, NoticePrinter
from jobledger_client.cli._exit_codes import BY_STATE
from jobledger_client.cli._session import Session, command

_BOOKMARK = WatchMessageType.BOOKMARK
_DELETED = WatchMessageType.DELETED


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "watch",
        """jobledger watch JOB_ID && echo done""",
        """jobledger watch JOB_ID --timeout 10m""",
        """jobledger watch JOB_ID --output json | jq -r .job.progress.percent""",
    )(watch)


def watch(
    session: Session,
    job_id: JobId,
    *,
    owner: Owner = "",
    every: Annotated[bool, typer.Option("--every", help="Show every revision, even if the output is slow.")] = False,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Resume after this cursor, as --output json shows it.")
    ] = None,
    bookmarks: Annotated[bool, typer.Option("--bookmarks", help="With JSON, also print bookmarks.")] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="Fetch state, percent, stage and ETA alone (view STATUS).")
    ] = False,
) -> int:
    """Follow a job until it has ended, over restarts of the server, or until --timeout has passed.

    Exits with 0 when the job is COMPLETED, 1 when FAILED, 4 when CANCELLED, 66 when it was deleted, and 75 when
    --timeout has passed before. Notices about the connection are part of the display, or on standard error without a
    terminal.
    """
    mode = WatchMode.EVERY if every else WatchMode.LATEST
    view = JobView.STATUS if brief else None
    start_cursor = _cursor(cursor)
    with session.client() as client:
        if not session.as_json:
            return _show(session, client, job_id, owner, mode=mode, view=view, cursor=start_cursor)
        last = _follow(
            session,
            client,
            job_id,
            owner,
            _json.print_message_line,
            mode=mode,
            view=view,
            cursor=start_cursor,
            bookmarks=bookmarks,
        )
        return _exit_code(client, job_id, owner, last)


def wait(session: Session, client: JobClient, job_id: str, owner: str = "") -> int:
    """Follow a job until it has ended; with JSON, print only the ended job. Return the exit code of its state."""
    if not session.as_json:
        return _show(session, client, job_id, owner)
    job = _follow(session, client, job_id, owner, lambda _: None).job
    job.ClearField("input")
    job.ClearField("chunks")
    _json.print_message(job)
    return BY_STATE[job.state]


def _show(
    session: Session,
    client: JobClient,
    job_id: str,
    owner: str,
    *,
    mode: WatchMode = WatchMode.LATEST,
    view: JobView | None = None,
    cursor: bytes = b"",
) -> int:
    last = _follow(session, client, job_id, owner, None, mode=mode, view=view, cursor=cursor)
    if outcome := _tables.outcome(last.job):
        session.console.print(outcome)
    return _exit_code(client, job_id, owner, last)


def _follow(
    session: Session,
    client: JobClient,
    job_id: str,
    owner: str,
    show: Callable[[WatchJobResponse], None] | None,
    *,
    mode: WatchMode = WatchMode.LATEST,
    view: JobView | None = None,
    cursor: bytes = b"",
    bookmarks: bool = False,
) -> WatchJobResponse:
    """Follow a watch to its end; return the last message that is no bookmark. Without `show`, show bars or lines.

    Raises JobNotFoundError when the job is deleted, and DeadlineExceededError after the session's timeout.
    """
    last, watched = WatchJobResponse(), WatchedJob()
    # Bookmarks prove that the server is healthy.
    timeout = session.remaining()
    with client.watch(
        job_id, mode=mode, view=view, cursor=cursor, bookmarks=True, owner=owner, timeout=timeout
    ) as messages:
        connection = Connection(messages)

        def notice() -> Notice | None:
            return connection.notice() or watched.queue_wait.notice()

        bars = Bars(session.console, watched, notice)
        show_message = show or bars.show
        is_live = show is None and session.console.is_terminal
        try:
            with bars if is_live else NoticePrinter(notice, session.print_notice):
                for message in messages:
                    connection.mark_received()
                    if message.type != _BOOKMARK:
                        last = message
                        watched.apply(message)
                    if message.type != _BOOKMARK or bookmarks:
                        show_message(message)
        except DeadlineExceededError as error:
            if messages.interruption is not None and not watched.job.job_id:
                raise messages.interruption from error
            raise _timeout_error(session, watched.job, error) from error
    if last.type == _DELETED:
        raise _deleted(job_id)
    return last


def _timeout_error(session: Session, job: Job, error: DeadlineExceededError) -> DeadlineExceededError:
    """Return the error for a job that has not ended before --timeout."""
    if session.timeout is None:
        return error
    timeout = f"--timeout {formatting.duration(session.timeout.total_seconds())}"
    state = f"{JobState(job.state).name}, {formatting.percent(job.progress.percent)}"
    not_ended = f"the job had not ended after {timeout} ({state}); it continues"
    return DeadlineExceededError(
        not_ended if job.job_id else f"the server did not answer within {timeout}",
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        metadata={"job_id": job.job_id},
    )


def _deleted(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(
        f"job {job_id} was deleted before it ended",
        code=grpc.StatusCode.NOT_FOUND,
        reason="JOB_NOT_FOUND",
        metadata={"job_id": job_id},
    )


def _exit_code(client: JobClient, job_id: str, owner: str, last: WatchJobResponse) -> int:
    if not last.HasField("job"):  # the job had ended before the cursor
        return BY_STATE[client.get_job(job_id, view=JobView.BASIC, owner=owner).state]
    return BY_STATE[last.job.state]


def _cursor(word: str | None) -> bytes:
    try:
        return base64.b64decode(word or "", validate=True)
    except binascii.Error as error:
        raise typer.BadParameter(f"--cursor: must be base64; got {word!r}") from error
