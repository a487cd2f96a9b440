"""`jobledger watch` of many jobs: a line for each message."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import grpc
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse
from rich.text import Text

from jobledger_client._error_groups import DeadlineExceededError
from jobledger_client._generated._enums import ChangeType, JobState, JobView, WatchMessageType, WatchMode
from jobledger_client._generated._errors import JobNotFoundError
from jobledger_client._requests import ReadFilterFields
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json
from jobledger_client.cli._connection import Connection, NoticePrinter
from jobledger_client.cli._exit_codes import BY_STATE, DONE, NOT_FOUND
from jobledger_client.cli._queue_wait import held_by
from jobledger_client.cli._session import Session

if TYPE_CHECKING:
    from jobledger.v1.event_pb2 import Change

_BOOKMARK, _DELETED = WatchMessageType.BOOKMARK, WatchMessageType.DELETED
_SNAPSHOT, _CHANGED = WatchMessageType.SNAPSHOT, WatchMessageType.CHANGED
_MAX_CHANGES = 3
"""Changes of one message that are shown."""


def watch_many(
    session: Session,
    client: JobClient,
    job_ids: Sequence[str],
    *,
    mode: WatchMode,
    view: JobView | None,
    cursor: bytes,
    bookmarks: bool,
    change_types: Iterable[ChangeType],
    state_changes_only: bool,
    from_now: bool,
    filter_fields: ReadFilterFields,
) -> int:
    """Follow jobs, named ones until all have ended; return the exit code of these. Raises JobNotFoundError."""
    show = _json.print_message_line if session.as_json else _printer(session)
    unfinished, code, owner = set(job_ids), DONE, filter_fields.get("owner", "")
    if job_ids and (missing := client.batch_get_jobs(job_ids, view=JobView.STATUS, owner=owner).missing_job_ids):
        raise _not_found(missing[0])
    named: ReadFilterFields = {**filter_fields, "job_ids": job_ids}
    with client.watch_jobs(
        cursor=cursor,
        mode=mode,
        view=view or JobView.STATUS,
        change_types=change_types,
        state_changes_only=state_changes_only,
        from_now=from_now,
        bookmarks=True,
        timeout=session.remaining(),
        **named,
    ) as messages:
        connection = Connection(messages)
        try:
            with NoticePrinter(connection.notice, session.print_notice):
                for message in messages:
                    connection.mark_received()
                    if message.type == _BOOKMARK and not bookmarks:
                        continue
                    show(message)
                    job = message.job
                    if job.job_id in unfinished and (message.type == _DELETED or job.state in BY_STATE):
                        unfinished.discard(job.job_id)
                        code = code or (NOT_FOUND if message.type == _DELETED else BY_STATE[job.state])
                    if job_ids and not unfinished:
                        break
        except DeadlineExceededError as error:
            if job_ids:
                raise _not_ended(session, len(unfinished), len({*job_ids}), error) from error
    return code


def _not_ended(session: Session, unfinished: int, count: int, error: DeadlineExceededError) -> DeadlineExceededError:
    if session.timeout is None:
        return error
    after = formatting.duration(session.timeout.total_seconds())
    text = f"{unfinished:,} of {count:,} jobs had not ended after --timeout {after}; they continue"
    return DeadlineExceededError(text, code=grpc.StatusCode.DEADLINE_EXCEEDED)


def _not_found(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(
        f"job {job_id} does not exist",
        code=grpc.StatusCode.NOT_FOUND,
        reason="JOB_NOT_FOUND",
        metadata={"job_id": job_id},
    )


def _printer(session: Session) -> Callable[[WatchJobsResponse], None]:
    """Return a function that prints a line for each message of a job."""

    def show(message: WatchJobsResponse) -> None:
        if message.HasField("job"):
            session.console.print(_line(message), soft_wrap=True)

    return show


def _line(message: WatchJobsResponse) -> Text:
    job = message.job
    is_there = message.type in (_SNAPSHOT, _CHANGED)
    state = formatting.coloured(JobState(job.state)) if is_there else Text(WatchMessageType(message.type).name)
    time = message.event.commit_time if message.HasField("event") else job.update_time
    texts = _progress(job), _changes(message), _held(job)
    parts = formatting.local_time(time), formatting.one_line(_name(job)), state, *texts
    return Text("  ").join(part if isinstance(part, Text) else Text(part) for part in parts if part)


def _name(job: Job) -> str:
    return f"{job.kind} {job.job_id}"


def _progress(job: Job) -> str:
    stage = f" {job.progress.stage}" if job.progress.stage else ""
    return f"{formatting.percent(job.progress.percent)}{stage}" if job.kind else ""


def _held(job: Job) -> str:
    return f"waits for {held_by(job)}" if job.holds else ""


def _changes(message: WatchJobsResponse) -> str:
    changes: Sequence[Change] = message.event.changes
    names = list(dict.fromkeys(ChangeType(change.type).name for change in changes))
    more = f" and {len(names) - _MAX_CHANGES} more" if len(names) > _MAX_CHANGES else ""
    return ", ".join(names[:_MAX_CHANGES]) + more
