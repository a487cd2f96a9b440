"""The command that follows a job, and `--wait` of other commands."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import grpc
import typer
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse

from jobledger_client._error_groups import DeadlineExceededError
from jobledger_client._generated._enums import ChangeType, JobState, JobView, WatchMessageType, WatchMode
from jobledger_client._generated._errors import JobNotFoundError
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._choices import Kinds, Owner, Uid, choice, names
from jobledger_client.cli._connection import Connection, Notice, NoticePrinter
from jobledger_client.cli._exit_codes import BY_STATE
from jobledger_client.cli._live._bars import Bars
from jobledger_client.cli._live._chunk_states import LISTED_STATES
from jobledger_client.cli._live._watch_many import watch_many
from jobledger_client.cli._live._watched_job import ChunkLoader, WatchedJob
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import ReadFilterFields

_BOOKMARK = WatchMessageType.BOOKMARK
_DELETED = WatchMessageType.DELETED
_PAGE_SIZE = 1_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "watch",
        """jobledger watch JOB_ID && echo done""",
        """jobledger watch JOB_ID --timeout 10m""",
        """jobledger watch JOB_ID --output json | jq -r .job.progress.percent""",
        """jobledger watch JOB_ID JOB_ID JOB_ID --state-changes-only""",
        """jobledger watch --kind crawl.images --from-now --change CREATED --change RETRIED""",
    )(watch)


def watch(
    session: Session,
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB_ID]...", help="[default: all jobs]", autocompletion=completion.job_ids),
    ] = None,
    *,
    uid: Uid = "",
    owner: Owner = "",
    every: Annotated[bool, typer.Option("--every", help="Show every revision, even if the output is slow.")] = False,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Resume after this cursor, as --output json shows it.")
    ] = None,
    bookmarks: Annotated[bool, typer.Option("--bookmarks", help="With JSON, also print bookmarks.")] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="Fetch state, percent, stage and ETA alone (view STATUS).")
    ] = False,
    change: Annotated[list[ChangeType] | None, choice(names(ChangeType), "Only such changes. May be repeated.")] = None,
    state_changes_only: Annotated[
        bool, typer.Option("--state-changes-only", help="Only changes of a job's state.")
    ] = False,
    kind: Kinds = None,
    all_owners: Annotated[bool, typer.Option("--all-owners", help="With an admin's key.")] = False,
    from_now: Annotated[bool, typer.Option("--from-now", help="Leave out the jobs that are there now.")] = False,
) -> int:
    """Follow a job until it has ended, over restarts of the server, or until --timeout has passed.

    Several jobs, or all, are followed with a line for each change, in view STATUS: named ones until all have ended, all
    until --timeout has passed. The first message of each job, and its end, are shown whatever changes are chosen.

    Exits with 0 when the job is COMPLETED, 1 when FAILED, 4 when CANCELLED, 66 when it was deleted, and 75 when
    --timeout has passed before. Notices about the connection are part of the display, or on standard error without a
    terminal.
    """
    mode = WatchMode.EVERY if every else WatchMode.LATEST
    selection = _Selection(mode, JobView.STATUS if brief else None, _cursor(cursor), change or (), state_changes_only)
    filter_fields: ReadFilterFields = {"kinds": kind or (), "owner": owner, "all_owners": all_owners}
    named = job_ids or []
    with session.client() as client:
        if len(named) != 1 or from_now or kind or all_owners:
            if uid:
                raise typer.BadParameter("--uid requires a single JOB_ID, and no filter")
            return watch_many(
                session,
                client,
                named,
                bookmarks=bookmarks,
                from_now=from_now,
                filter_fields=filter_fields,
                **selection._asdict(),
            )
        job = JobName(named[0], uid, owner)
        if not session.as_json:
            return _show(session, client, job, selection)
        last = _follow(session, client, job, _json.print_message_line, selection, bookmarks=bookmarks)
        return _exit_code(client, job, last)


class JobName(NamedTuple):
    """A job: its job_id, its uid, empty for whichever has the job_id, and its owner, empty for the key's own."""

    job_id: str
    uid: str = ""
    owner: str = ""


def wait(session: Session, client: JobClient, job: Job) -> int:
    """Follow a job until it has ended; with JSON, print only the ended job. Return the exit code of its state."""
    name = JobName(job.job_id, job.uid, job.owner)
    if not session.as_json:
        return _show(session, client, name)
    _follow(session, client, name, lambda _: None, _Selection(view=JobView.STATUS, state_changes_only=True))
    ended = client.get_job(view=JobView.BASIC, **name._asdict())
    _json.print_message(ended)
    return BY_STATE[ended.state]


class _Selection(NamedTuple):
    """Which messages of a watch are selected, and in which view."""

    mode: WatchMode = WatchMode.LATEST
    view: JobView | None = None
    cursor: bytes = b""
    change_types: Sequence[ChangeType] = ()
    state_changes_only: bool = False

    def has_all_chunks(self) -> bool:
        """Return whether the messages show every change of the chunks."""
        return self.view != JobView.STATUS and not self.change_types and not self.state_changes_only


_ALL: Final = _Selection()


def _show(session: Session, client: JobClient, job: JobName, selection: _Selection = _ALL) -> int:
    last = _follow(session, client, job, None, selection)
    if outcome := _tables.outcome(last.job):
        session.console.print(outcome)
    return _exit_code(client, job, last)


def _follow(
    session: Session,
    client: JobClient,
    job: JobName,
    show: Callable[[WatchJobResponse], None] | None,
    selection: _Selection,
    *,
    bookmarks: bool = False,
) -> WatchJobResponse:
    """Follow a watch to its end; return the last message that is not a bookmark. Without `show`, show bars or lines.

    Raises JobNotFoundError when the job is deleted, and DeadlineExceededError after the session's timeout.
    """
    is_live = show is None and session.console.is_terminal
    last, watched = WatchJobResponse(), WatchedJob(has_chunks=is_live and selection.has_all_chunks())
    # Bookmarks prove that the server is healthy.
    timeout = session.remaining()
    with client.watch(bookmarks=True, timeout=timeout, **job._asdict(), **selection._asdict()) as messages:
        connection = Connection(messages)

        def notice() -> Notice | None:
            return connection.notice() or watched.queue_wait.notice()

        listed = client.list_chunks(states=LISTED_STATES, page_size=_PAGE_SIZE, **job._asdict())
        bars = Bars(session.console, watched, notice)
        show_message = show or bars.show
        try:
            with bars if is_live else NoticePrinter(notice, session.print_notice), ChunkLoader(watched, listed.pages):
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
        raise _deleted(job.job_id)
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


def _exit_code(client: JobClient, job: JobName, last: WatchJobResponse) -> int:
    if not last.HasField("job"):  # the job had ended before the cursor
        return BY_STATE[client.get_job(view=JobView.BASIC, **job._asdict()).state]
    return BY_STATE[last.job.state]


def _cursor(word: str | None) -> bytes:
    try:
        return base64.b64decode(word or "", validate=True)
    except binascii.Error as error:
        raise typer.BadParameter(f"--cursor: must be base64; got {word!r}") from error
