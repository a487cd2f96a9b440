"""The command that creates a job."""

from typing import Annotated

import typer
from jobledger.v1.job_service_pb2 import CreateJobResponse

from jobledger_client._generated._enums import FailurePolicy, OnConflict
from jobledger_client._policies import RetryPolicy
from jobledger_client._sync._client import JobClient
from jobledger_client.cli import _json, _parse
from jobledger_client.cli._live._watch import wait as wait_for
from jobledger_client.cli._session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "create",
        """jobledger create crawl.images --items 2500 --input '{"site": "example.org"}' --label team=search""",
        """jobledger create video.transcode --chunks '[{"part": 1}, {"part": 2}]' --stage decode=1 --stage encode=4""",
        """jobledger create crawl.images --label user=ann --limited-label user""",
        """jobledger create report.nightly --job-id nightly-2026-01-31 --wait""",
        """jobledger create video.render --chunks '[{"scene": 1}, {"scene": 2}]' --finalizer-input '{"join": true}'""",
        """jobledger create report.nightly --at 2h""",
        """jobledger create crawl.images --items 2500 --validate-only""",
    )(create)


def create(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind of work, such as crawl.images.")],
    *,
    job_id: Annotated[str, typer.Option(metavar="ID", help="The job's id. [default: a new UUID]")] = "",
    display_name: Annotated[str, typer.Option(metavar="NAME", help="A name for people and for search.")] = "",
    priority: Annotated[
        int | None, typer.Option(metavar="N", help="0 to 10; higher is more urgent. [default: 5]")
    ] = None,
    input: Annotated[  # noqa: A002 - the contract's name for it
        str | None, typer.Option(metavar="JSON", help="The job's input: a JSON object, @FILE, or - for standard input.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label; may be repeated.")] = None,
    items: Annotated[int | None, typer.Option(metavar="N", help="How many items the job has.")] = None,
    chunk_size: Annotated[
        int | None, typer.Option(metavar="N", help="How many items make a chunk. [default: 500]")
    ] = None,
    chunks: Annotated[
        str | None, typer.Option(metavar="JSON", help="An array with each chunk's own input, @FILE or -.")
    ] = None,
    finalizer_input: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="Add a last chunk with this input, for when all others are done; JSON, @FILE or -."
        ),
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(metavar="NAME[=WEIGHT]", help="A stage of each chunk, in order; repeat it.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="The maximum number of attempts at a chunk. [default: 3]")
    ] = None,
    backoff: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The wait after the first failed attempt. [default: 1s]")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Fail the job with its first failed chunk.")] = False,
    expire: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Delete the job then (7d, or a time), once it has ended."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Let no worker claim it before then (2h from now, or a time)."),
    ] = None,
    run_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Fail the job when its run takes longer, such as 2h.")
    ] = None,
    attempt_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Fail an attempt at a chunk that takes longer, such as 5m.")
    ] = None,
    limited_label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A label of the job under whose value it is limited; may be repeated."),
    ] = None,
    unique_key: Annotated[
        str, typer.Option(metavar="KEY", help="Create no second unfinished job of this kind with this key.")
    ] = "",
    unique_window: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Nor another job within this time of its creation, such as 24h."),
    ] = None,
    refuse_conflict: Annotated[
        bool, typer.Option("--refuse-conflict", help="Fail when a job has the key; else print that job.")
    ] = False,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="An id that makes it safe to repeat the command. [default: a new UUID]")
    ] = "",
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check everything and create nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job; exit as `watch` does.")] = False,
) -> int:
    """Create a job and print its id."""
    if validate_only and wait:
        raise typer.BadParameter("--validate-only: must not be combined with --wait")
    policy = RetryPolicy(max_attempts=max_attempts, initial_backoff=_parse.duration("--backoff", backoff))
    with session.client() as client:
        response = client.create_job(
            kind,
            job_id=job_id,
            display_name=display_name,
            priority=priority,
            input=_parse.json_object("--input", input),
            labels=_parse.pairs("--label", label or ()),
            item_count=items,
            chunk_size=chunk_size,
            chunks=_parse.json_objects("--chunks", chunks),
            retry_policy=policy,
            failure_policy=FailurePolicy.FAIL_FAST if fail_fast else FailurePolicy.RUN_ALL,
            finalizer=_parse.json_object("--finalizer-input", finalizer_input),
            stages=_parse.weights("--stage", stage or ()),
            expire_time=_parse.future_time("--expire", expire),
            schedule_time=_parse.future_time("--at", at),
            run_timeout=_parse.duration("--run-timeout", run_timeout),
            attempt_timeout=_parse.duration("--attempt-timeout", attempt_timeout),
            limited_labels=limited_label or (),
            unique_key=unique_key,
            unique_window=_parse.duration("--unique-window", unique_window),
            on_conflict=OnConflict.REFUSE if refuse_conflict else None,
            request_id=request_id,
            validate_only=validate_only,
        )
        if not response.created:
            session.print_note(f"the job exists: {response.job.job_id}")
        elif validate_only:
            session.print_note(f"the request is valid, and no job was created: {response.job.job_id}")
        return _print_created(session, client, response, wait=wait)


def _print_created(session: Session, client: JobClient, response: CreateJobResponse, *, wait: bool) -> int:
    if wait:
        return wait_for(session, client, response.job)
    if session.as_json:
        _json.print_message(response)
    else:
        print(response.job.job_id)
    return 0
