"""The commands that change a job: cancel, retry, update, delete."""

from typing import Annotated

import typer
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import CancelOutcome, DeleteJobResponse

from jobledger_client.cli import _json, _parse
from jobledger_client.cli import _words as words
from jobledger_client.cli._session import Session, command
from jobledger_client.cli._watch import wait as wait_for

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for people and the history.")]
Etag = Annotated[
    str, typer.Option(metavar="ETAG", help="Only if the job is still at this revision, as `get` shows it.")
]

_OUTCOMES = {
    CancelOutcome.CANCEL_OUTCOME_CANCELLED: "cancelled",
    CancelOutcome.CANCEL_OUTCOME_REQUESTED: "asked to stop; it is CANCELLING until its workers let go",
    CancelOutcome.CANCEL_OUTCOME_ALREADY_ENDED: "had ended already",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "cancel", 'jobledger cancel JOB_ID --reason "wrong input"', "jobledger cancel JOB_ID --force")(cancel)
    command(app, "retry", "jobledger retry JOB_ID --wait", "jobledger retry JOB_ID --chunk 3 --chunk 7")(retry)
    command(
        app,
        "update",
        "jobledger update JOB_ID --priority 9",
        "jobledger update JOB_ID --label team=search --label tier=gold",
        "jobledger update JOB_ID --expire 7d",
    )(update)
    command(app, "delete", "jobledger delete JOB_ID", "jobledger delete JOB_ID --force")(delete)


def cancel(
    session: Session,
    job_id: JobId,
    *,
    reason: Reason = "",
    grace_period: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long its workers have to let go. [default: 30s]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for its workers.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
) -> int:
    """Stop a job."""
    with session.client() as client:
        grace = _parse.span("--grace-period", grace_period)
        answer = client.cancel_job(job_id, reason=reason, grace_period=grace, force=force)
        if wait:
            return wait_for(session, client, job_id)
    if session.as_json:
        _json.document(answer)
    else:
        _say(session, answer.job, _OUTCOMES.get(answer.outcome, "changed"))
    return 0


def retry(
    session: Session,
    job_id: JobId,
    *,
    chunk: Annotated[
        list[int] | None, typer.Option(metavar="N", help="A chunk to run again, by index; may be repeated.")
    ] = None,
    reason: Reason = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
) -> int:
    """Run the failed and cancelled chunks again.

    Those named, or all of them. Completed chunks are kept.
    """
    with session.client() as client:
        job = client.retry_job(job_id, chunk_indexes=chunk or (), reason=reason)
        return wait_for(session, client, job_id) if wait else _answer(session, job, "runs again")


def update(
    session: Session,
    job_id: JobId,
    *,
    priority: Annotated[int | None, typer.Option(metavar="N", help="0 to 10; higher is more urgent.")] = None,
    display_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The new name; an empty one removes it.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Labels in place of all there are; may be repeated.")
    ] = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Remove all labels.")] = False,
    expire: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="Delete the job then (7d, or a time), once it has ended.")
    ] = None,
    keep_forever: Annotated[bool, typer.Option("--keep-forever", help="Do not delete the job by itself.")] = False,
    etag: Etag = "",
) -> int:
    """Change priority, name, labels or expiry.

    What is not given stays as it is.
    """
    labels = _parse.pairs("--label", label or ()) if label or no_labels else None
    given = (priority, display_name, labels, expire)
    if not keep_forever and all(value is None for value in given):
        raise typer.BadParameter("say what to change: --priority, --display-name, --label, --expire or --keep-forever")
    with session.client() as client:
        job = client.update_job(
            job_id,
            priority=priority,
            display_name=display_name,
            labels=labels,
            expire_time=_parse.later("--expire", expire),
            keep_forever=keep_forever,
            etag=etag,
        )
    return _answer(session, job, "updated")


def delete(
    session: Session,
    job_id: JobId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also when it has not ended.")] = False,
    reason: Reason = "",
    etag: Etag = "",
) -> int:
    """Remove a job that has ended."""
    with session.client() as client:
        client.delete_job(job_id, force=force, reason=reason, etag=etag)
    if session.as_json:
        _json.document(DeleteJobResponse())
    else:
        _say(session, Job(job_id=job_id), "deleted")
    return 0


def _answer(session: Session, job: Job, what: str) -> int:
    if session.as_json:
        _json.document(job)
    else:
        _say(session, job, what)
    return 0


def _say(session: Session, job: Job, what: str) -> None:
    state = f" ({words.job_state(job.state)})" if job.state else ""
    session.console.print(f"{job.job_id}: {what}{state}", markup=False, highlight=False, soft_wrap=True)
