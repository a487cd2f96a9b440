"""The commands that change a job: cancel, retry, update, delete."""

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from jobledger.v1.job_pb2 import Job

from jobledger_client._generated._enums import CancelOutcome, JobState
from jobledger_client._job_changes import JobChanges
from jobledger_client._policies import RetryPolicy
from jobledger_client.cli import _json, _parse
from jobledger_client.cli._choices import Reason, Uid
from jobledger_client.cli._filter import add_filter_options
from jobledger_client.cli._jobs._bulk import Detach, JobIds, JobSelection, ValidateOnly, Yes, run
from jobledger_client.cli._live._watch import wait as wait_for
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

Etag = Annotated[
    str,
    typer.Option(metavar="ETAG", help="Only if no caller has changed it, nor its state, since `get` showed this etag."),
]

_OUTCOMES: dict[int, str] = {
    CancelOutcome.CANCELLED: "cancelled",
    CancelOutcome.REQUESTED: "cancellation requested; it is CANCELLING until its workers stop",
    CancelOutcome.ALREADY_ENDED: "had already ended",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(
        app,
        "cancel",
        'jobledger cancel JOB_ID --reason "wrong input"',
        "jobledger cancel JOB_ID --force",
        "jobledger cancel --kind crawl.images --since 2h --validate-only",
    )(add_filter_options(cancel, since="created_since"))
    command(
        app,
        "retry",
        "jobledger retry JOB_ID --wait",
        "jobledger retry JOB_ID --chunk 3 --chunk 7",
        "jobledger retry --error-code CUDA_OUT_OF_MEMORY --since 1d --validate-only",
        "jobledger retry --kind crawl.images --since 1d --yes",
    )(add_filter_options(retry, since="ended_since"))
    command(
        app,
        "update",
        "jobledger update JOB_ID --priority 9",
        "jobledger update JOB_ID --label team=search --label tier=gold",
        "jobledger update JOB_ID --set-label tier=gold --remove-label team",
        "jobledger update JOB_ID --expire 7d",
        "jobledger update JOB_ID --at 2h",
        "jobledger update --priority 9 --state QUEUED --with-label team=search",
    )(add_filter_options(update, label="--with-label", since="created_since"))
    command(
        app,
        "delete",
        "jobledger delete JOB_ID",
        "jobledger delete JOB_ID --force --artifacts",
        "jobledger delete --state COMPLETED --ended-before 30d --yes",
    )(add_filter_options(delete, since="ended_since"))


def _check_single(job_id: str | None, etag: str, uid: str) -> None:
    for option, value in (("--etag", etag), ("--uid", uid)):
        if job_id is None and value:
            raise typer.BadParameter(f"{option} requires a single JOB_ID")


def cancel(
    session: Session,
    job_ids: JobIds = None,
    *,
    reason: Reason = "",
    grace_period: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long its workers have to stop. [default: 30s]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for its workers.")] = False,
    etag: Etag = "",
    uid: Uid = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
    validate_only: ValidateOnly = False,
    yes: Yes = False,
    detach: Detach = False,
    filter_fields: "JobFilterFields",
) -> int:
    """Stop a job, or many.

    One run stops many jobs, given by id or by a filter; the command follows the run until it ends.
    """
    selection = JobSelection(job_ids or (), filter_fields, validate_only, yes, detach)
    grace = _parse.duration("--grace-period", grace_period)
    job_id = selection.one
    _check_single(job_id, etag, uid)
    with session.client() as client:
        if job_id is None:
            call = partial(client.bulk.cancel_jobs, reason=reason, grace_period=grace, force=force)
            return run(session, client, "cancel", call, selection)
        response = client.cancel_job(
            job_id, reason=reason, grace_period=grace, force=force, etag=etag, uid=uid, owner=selection.owner
        )
        if wait:
            return wait_for(session, client, response.job)
    if session.as_json:
        _json.print_message(response)
    else:
        _print_outcome(session, response.job, _OUTCOMES.get(response.outcome, "changed"))
    return 0


def retry(
    session: Session,
    job_ids: JobIds = None,
    *,
    chunk: Annotated[
        list[int] | None, typer.Option(metavar="N", help="A chunk to run again, by index; may be repeated.")
    ] = None,
    reason: Reason = "",
    etag: Etag = "",
    uid: Uid = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it has ended; exit as `watch` does.")
    ] = False,
    validate_only: ValidateOnly = False,
    yes: Yes = False,
    detach: Detach = False,
    filter_fields: "JobFilterFields",
) -> int:
    """Run the failed and cancelled chunks again.

    Those given by --chunk, or all of them. Completed chunks are kept. Failed chunks that --chunk names go again also
    while their job still runs. One run retries many jobs, given by id or by a filter; the command follows the run until
    it ends. A filter without --state selects FAILED jobs.
    """
    if filter_fields.keys() - {"owner"} and not filter_fields.get("states"):
        filter_fields["states"] = [JobState.FAILED]
    selection = JobSelection(job_ids or (), filter_fields, validate_only, yes, detach)
    job_id = selection.one
    if job_id is None and chunk:
        raise typer.BadParameter("--chunk requires a single JOB_ID")
    _check_single(job_id, etag, uid)
    with session.client() as client:
        if job_id is None:
            return run(session, client, "retry", partial(client.bulk.retry_jobs, reason=reason), selection)
        job = client.retry_job(
            job_id, chunk_indexes=chunk or (), reason=reason, etag=etag, uid=uid, owner=selection.owner
        )
        return wait_for(session, client, job) if wait else _print_job(session, job, "runs again")


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
    set_label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label to set; others stay. May be repeated.")
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A label to remove; others stay. May be repeated.")
    ] = None,
    expire: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Delete the job then (7d, or a time), once it has ended."),
    ] = None,
    keep_forever: Annotated[bool, typer.Option("--keep-forever", help="Never delete the job automatically.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Let no worker claim it before then (2h from now, or a time)."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Let workers claim a scheduled job at once.")] = False,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="A new retry policy: the maximum number of attempts at a chunk.")
    ] = None,
    backoff: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="A new retry policy: the wait after the first failed attempt."),
    ] = None,
    run_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Fail the job when its run takes longer, such as 2h.")
    ] = None,
    no_run_timeout: Annotated[bool, typer.Option("--no-run-timeout", help="Let runs take any time.")] = False,
    attempt_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Fail attempts that are claimed from now on and take longer, such as 5m."
        ),
    ] = None,
    no_attempt_timeout: Annotated[
        bool, typer.Option("--no-attempt-timeout", help="Let attempts that are claimed from now on take any time.")
    ] = False,
    reason: Reason = "",
    etag: Etag = "",
    uid: Uid = "",
    validate_only: ValidateOnly = False,
    yes: Yes = False,
    detach: Detach = False,
    filter_fields: "JobFilterFields",
) -> int:
    """Change priority, name, labels, times or the retry policy of a job, or of many.

    Other fields stay unchanged; --max-attempts and --backoff replace the whole retry policy. One run changes many
    jobs, given by id or by a filter; the command follows the run until it ends.
    """
    selection = JobSelection(job_ids or (), filter_fields, validate_only, yes, detach)
    changes = JobChanges(
        priority=priority,
        display_name=display_name,
        labels=_parse.pairs("--label", label or ()) if label or no_labels else None,
        set_labels=_parse.pairs("--set-label", set_label) if set_label else None,
        remove_labels=remove_label or (),
        expire_time=_parse.future_time("--expire", expire),
        keep_forever=keep_forever,
        schedule_time=_parse.future_time("--at", at),
        start_now=now,
        retry_policy=None
        if max_attempts is None and backoff is None
        else RetryPolicy(max_attempts=max_attempts, initial_backoff=_parse.duration("--backoff", backoff)),
        run_timeout=_parse.duration("--run-timeout", run_timeout),
        no_run_timeout=no_run_timeout,
        attempt_timeout=_parse.duration("--attempt-timeout", attempt_timeout),
        no_attempt_timeout=no_attempt_timeout,
    )
    if changes == JobChanges():
        raise typer.BadParameter(
            "a change is required: --priority, --display-name, --label, --set-label, --remove-label, --expire, "
            "--keep-forever, --at, --now, --max-attempts, --backoff, --run-timeout, --no-run-timeout, "
            "--attempt-timeout or --no-attempt-timeout"
        )
    job_id = selection.one
    _check_single(job_id, etag, uid)
    with session.client() as client:
        if job_id is None:
            call = partial(client.bulk.update_jobs, changes, reason=reason)
            return run(session, client, "update", call, selection)
        fields = {field.name: getattr(changes, field.name) for field in dataclasses.fields(changes)}
        job = client.update_job(job_id, **fields, reason=reason, etag=etag, uid=uid, owner=selection.owner)
    return _print_job(session, job, "updated")


def delete(
    session: Session,
    job_ids: JobIds = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Delete it even if it has not ended.")] = False,
    reason: Reason = "",
    artifacts: Annotated[
        bool,
        typer.Option(
            "--artifacts", help="Also delete the objects that its artifacts name, where the operator allows it."
        ),
    ] = False,
    etag: Etag = "",
    uid: Uid = "",
    validate_only: ValidateOnly = False,
    yes: Yes = False,
    detach: Detach = False,
    filter_fields: "JobFilterFields",
) -> int:
    """Delete a job that has ended, or many.

    One run deletes many jobs, given by id or by a filter; the command follows the run until it ends.
    """
    selection = JobSelection(job_ids or (), filter_fields, validate_only, yes, detach)
    job_id = selection.one
    _check_single(job_id, etag, uid)
    with session.client() as client:
        if job_id is None:
            call = partial(client.bulk.delete_jobs, reason=reason, force=force, delete_artifacts=artifacts)
            return run(session, client, "delete", call, selection)
        response = client.delete_job(
            job_id, force=force, reason=reason, etag=etag, uid=uid, delete_artifacts=artifacts, owner=selection.owner
        )
    if session.as_json:
        _json.print_message(response)
    else:
        removal = response.artifact_job.job_id
        deleting = f"; job {removal} deletes its artifacts, and reports how many it keeps" if removal else ""
        _print_outcome(session, Job(job_id=job_id), f"deleted{deleting}")
    return 0


def _print_job(session: Session, job: Job, outcome: str) -> int:
    if session.as_json:
        _json.print_message(job)
    else:
        _print_outcome(session, job, outcome)
    return 0


def _print_outcome(session: Session, job: Job, outcome: str) -> None:
    state = f" ({JobState(job.state).name})" if job.state else ""
    session.console.print(f"{job.job_id}: {outcome}{state}", markup=False, highlight=False, soft_wrap=True)
