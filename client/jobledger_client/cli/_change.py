"""The commands that change a job: cancel, retry, update, delete."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import CancelOutcome, DeleteJobResponse

from jobledger_client.cli import _json, _parse
from jobledger_client.cli import _words as words
from jobledger_client.cli._filter import add_filter
from jobledger_client.cli._many import Detach, DryRun, JobIds, Which, Yes, run
from jobledger_client.cli._session import Session, command
from jobledger_client.cli._watch import wait as wait_for

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

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
    command(
        app,
        "cancel",
        'jobledger cancel JOB_ID --reason "wrong input"',
        "jobledger cancel JOB_ID --force",
        "jobledger cancel --kind crawl.images --label site=example.org --dry-run",
    )(add_filter(cancel))
    command(
        app,
        "retry",
        "jobledger retry JOB_ID --wait",
        "jobledger retry JOB_ID --chunk 3 --chunk 7",
        "jobledger retry --state FAILED --created-since 24h --yes",
    )(add_filter(retry))
    command(
        app,
        "update",
        "jobledger update JOB_ID --priority 9",
        "jobledger update JOB_ID --label team=search --label tier=gold",
        "jobledger update JOB_ID --expire 7d",
        "jobledger update --priority 9 --state QUEUED --with-label team=search",
    )(add_filter(update, label="--with-label"))
    command(
        app,
        "delete",
        "jobledger delete JOB_ID",
        "jobledger delete JOB_ID --force --artifacts",
        "jobledger delete --state COMPLETED --ended-before 30d --yes",
    )(add_filter(delete))


def cancel(
    session: Session,
    job_ids: JobIds = None,
    *,
    reason: Reason = "",
    grace_period: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long its workers have to let go. [default: 30s]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for its workers.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    wanted: "JobFilterFields",
) -> int:
    """Stop a job, or many.

    Many jobs, named or picked by a filter, are stopped by one run, which is followed until it is done.
    """
    which = Which(job_ids or (), wanted, dry_run, yes, detach)
    grace = _parse.span("--grace-period", grace_period)
    job_id = which.one
    with session.client() as client:
        if job_id is None:
            call = partial(client.bulk.cancel_jobs, reason=reason, grace_period=grace, force=force)
            return run(session, client, "cancel", call, which)
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
    job_ids: JobIds = None,
    *,
    chunk: Annotated[
        list[int] | None, typer.Option(metavar="N", help="A chunk to run again, by index; may be repeated.")
    ] = None,
    reason: Reason = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    wanted: "JobFilterFields",
) -> int:
    """Run the failed and cancelled chunks again.

    Those named, or all of them. Completed chunks are kept. Many jobs, named or picked by a filter, are retried by one
    run, which is followed until it is done.
    """
    which = Which(job_ids or (), wanted, dry_run, yes, detach)
    job_id = which.one
    if job_id is None and chunk:
        raise typer.BadParameter("--chunk goes with a single JOB_ID")
    with session.client() as client:
        if job_id is None:
            return run(session, client, "retry", partial(client.bulk.retry_jobs, reason=reason), which)
        job = client.retry_job(job_id, chunk_indexes=chunk or (), reason=reason)
        return wait_for(session, client, job_id) if wait else _answer(session, job, "runs again")


def update(
    session: Session,
    job_ids: JobIds = None,
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
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    wanted: "JobFilterFields",
) -> int:
    """Change priority, name, labels or expiry.

    What is not given stays as it is. Of many jobs, named or picked by a filter, the priority alone can be changed.
    """
    which = Which(job_ids or (), wanted, dry_run, yes, detach)
    job_id = which.one
    labels = _parse.pairs("--label", label or ()) if label or no_labels else None
    others = (display_name, labels, expire)
    if job_id is None:
        if priority is None or keep_forever or etag or any(value is not None for value in others):
            raise typer.BadParameter("of many jobs --priority can be changed, and nothing else")
        with session.client() as client:
            return run(session, client, "update", partial(client.bulk.update_job_priorities, priority), which)
    if not keep_forever and priority is None and all(value is None for value in others):
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
    job_ids: JobIds = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also when it has not ended.")] = False,
    reason: Reason = "",
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Also delete what its artifacts point at, where the operator allows it.")
    ] = False,
    etag: Etag = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    wanted: "JobFilterFields",
) -> int:
    """Remove a job that has ended, or many.

    Many jobs, named or picked by a filter, are removed by one run, which is followed until it is done.
    """
    which = Which(job_ids or (), wanted, dry_run, yes, detach)
    job_id = which.one
    if job_id is None and etag:
        raise typer.BadParameter("--etag goes with a single JOB_ID")
    with session.client() as client:
        if job_id is None:
            call = partial(client.bulk.delete_jobs, force=force, delete_artifacts=artifacts)
            return run(session, client, "delete", call, which)
        answer = client.delete_job(job_id, force=force, reason=reason, etag=etag, delete_artifacts=artifacts)
    if session.as_json:
        _json.document(answer)
    else:
        _say(session, Job(job_id=job_id), f"deleted{_of_artifacts(answer)}")
    return 0


def _of_artifacts(answer: DeleteJobResponse) -> str:
    """Return what becomes of the artifacts of a deleted job, where that was asked for."""
    deletes = f"; job {answer.artifact_job.job_id} deletes its artifacts" if answer.HasField("artifact_job") else ""
    stay = answer.artifacts_outside_roots
    return f"{deletes}; {stay:,} of its artifacts stay, under no allowed root" if stay else deletes


def _answer(session: Session, job: Job, what: str) -> int:
    if session.as_json:
        _json.document(job)
    else:
        _say(session, job, what)
    return 0


def _say(session: Session, job: Job, what: str) -> None:
    state = f" ({words.job_state(job.state)})" if job.state else ""
    session.console.print(f"{job.job_id}: {what}{state}", markup=False, highlight=False, soft_wrap=True)
