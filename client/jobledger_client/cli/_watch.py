"""The command that follows a job, and what `--wait` shares with it."""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated

import grpc
import typer
from jobledger.v1 import job_pb2
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchMessageType, WatchMode

from jobledger_client._errors import DeadlineExceededError, JobNotFoundError
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _json, _tables
from jobledger_client.cli import _words as words
from jobledger_client.cli._bars import Bars, JobView
from jobledger_client.cli._choices import JobId
from jobledger_client.cli._exits import BY_STATE
from jobledger_client.cli._liveness import Liveness, Notice, NoticePrinter
from jobledger_client.cli._session import Session, command

_BOOKMARK = WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK
_DELETED = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED


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
    every: Annotated[bool, typer.Option("--every", help="Merge no revisions when this end is slow.")] = False,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Resume after this cursor, as --output json shows it.")
    ] = None,
    bookmarks: Annotated[bool, typer.Option("--bookmarks", help="With JSON, also print bookmarks.")] = False,
) -> int:
    """Follow a job until it has ended, over restarts of the server, or until --timeout is over.

    Exits with 0 when the job is COMPLETED, 1 when FAILED, 4 when CANCELLED, 66 when it was deleted, and 75 when
    --timeout was over before. What keeps messages away is told beside them, on standard error where there is no
    terminal.
    """
    mode = WatchMode.WATCH_MODE_EVERY if every else WatchMode.WATCH_MODE_LATEST
    after = _cursor(cursor)
    with session.client() as client:
        if not session.as_json:
            return _show(session, client, job_id, mode=mode, cursor=after)

        last = _follow(session, client, job_id, _json.line, mode=mode, cursor=after, bookmarks=bookmarks)
        return _exit_code(client, job_id, last)


def wait(session: Session, client: JobClient, job_id: str) -> int:
    """Follow a job until it has ended; for JSON, print the job as it ended. Return the exit code for its state."""
    if not session.as_json:
        return _show(session, client, job_id)
    job = _follow(session, client, job_id, lambda _: None).job
    job.ClearField("input")
    job.ClearField("chunks")
    _json.document(job)
    return BY_STATE[job.state]


def _show(
    session: Session,
    client: JobClient,
    job_id: str,
    *,
    mode: WatchMode.ValueType = WatchMode.WATCH_MODE_LATEST,
    cursor: bytes = b"",
) -> int:
    last = _follow(session, client, job_id, None, mode=mode, cursor=cursor)
    if left_behind := _tables.outcome(last.job):
        session.console.print(left_behind)
    return _exit_code(client, job_id, last)


def _follow(
    session: Session,
    client: JobClient,
    job_id: str,
    show: Callable[[WatchJobResponse], None] | None,
    *,
    mode: WatchMode.ValueType = WatchMode.WATCH_MODE_LATEST,
    cursor: bytes = b"",
    bookmarks: bool = False,
) -> WatchJobResponse:
    """Follow a watch to its end, and return the last message that is no bookmark; without `show`, show it to people.

    Raises JobNotFoundError when the job is deleted, and DeadlineExceededError when the session's time is over.
    """
    last, view = WatchJobResponse(), JobView()
    # Bookmarks tell that the server lives.
    with client.watch(job_id, mode=mode, cursor=cursor, bookmarks=True, timeout=session.left()) as messages:
        alive = Liveness(messages)

        def notice() -> Notice | None:
            return alive.notice() or view.waiting.notice()

        bars = Bars(session.console, view, notice)
        present = show or bars.show
        is_live = show is None and session.console.is_terminal
        try:
            with bars if is_live else NoticePrinter(notice, session.notice):
                for message in messages:
                    alive.heard()
                    if message.type != _BOOKMARK:
                        last = message
                        view.take(message)
                    if message.type != _BOOKMARK or bookmarks:
                        present(message)
        except DeadlineExceededError as error:
            if messages.interruption is not None and not view.job.job_id:
                raise messages.interruption from error
            raise _too_late(session, view.job, error) from error
    if last.type == _DELETED:
        raise _deleted(job_id)
    return last


def _too_late(session: Session, job: Job, error: DeadlineExceededError) -> DeadlineExceededError:
    """Return the error for a job that had not ended when the time that was given was over."""
    if session.timeout is None:
        return error
    given = f"--timeout {words.duration(session.timeout)}"
    state = f"{words.job_state(job.state)}, {words.percent(job.progress.percent)}"
    ended = f"the job had not ended after {given} ({state}); it goes on"
    return DeadlineExceededError(
        ended if job.job_id else f"the server did not answer within {given}",
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


def _exit_code(client: JobClient, job_id: str, last: WatchJobResponse) -> int:
    if not last.HasField("job"):  # the job had ended before the cursor
        return BY_STATE[client.get_job(job_id, view=job_pb2.JobView.JOB_VIEW_BASIC).state]
    return BY_STATE[last.job.state]


def _cursor(word: str | None) -> bytes:
    try:
        return base64.b64decode(word or "", validate=True)
    except binascii.Error as error:
        raise typer.BadParameter(f"--cursor: {word!r} is not base64") from error
