"""The commands that read: get, status, list, chunks, attempts, events."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from jobledger_client._generated._enums import ChangeType, ChunkState, EventOrder, JobOrder, JobView
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _json, _parse, _tables
from jobledger_client.cli._choices import JobId, Owner, Uid, choice, names
from jobledger_client.cli._exit_codes import NOT_FOUND
from jobledger_client.cli._filter import add_filter_options
from jobledger_client.cli._pages import AllPages, PageToken, print_next_page, read_pages
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

JobIdList = Annotated[list[str], typer.Argument(metavar="JOB_ID...", autocompletion=completion.job_ids)]
PageSize = Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many to show.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "get", "jobledger get JOB_ID", "jobledger get JOB_ID --output json | jq .progress")(get)
    command(
        app,
        "status",
        "jobledger status JOB_ID JOB_ID",
        "jobledger list --state RUNNING --output json | jq -r '.jobs[].jobId' | xargs jobledger status",
    )(status)
    command(
        app,
        "list",
        "jobledger list --search 'invoices march' --kind ocr.pages --label team=documents",
        "jobledger list --state FAILED --created-since 24h",
        "jobledger list --kind crawl.images --order PRIORITY_DESC --page-size 100",
        "jobledger list --all --output json | jq -r '.jobs[] | [.jobId, .state] | @tsv'",
    )(add_filter_options(list_jobs, reads=True))
    command(app, "chunks", "jobledger chunks JOB_ID --state FAILED")(list_chunks)
    command(app, "attempts", "jobledger attempts JOB_ID", "jobledger attempts JOB_ID --chunk 3")(list_attempts)
    command(
        app,
        "events",
        "jobledger events JOB_ID --all",
        "jobledger events --actor nightly/ --change CANCEL_REQUESTED --since 12h",
        "jobledger events --all-owners --change DELETED --since 1d --all",
    )(list_events)


def get(
    session: Session,
    job_id: JobId,
    *,
    uid: Uid = "",
    owner: Owner = "",
    basic: Annotated[bool, typer.Option("--basic", help="Leave out input and chunks.")] = False,
    detail: Annotated[bool, typer.Option("--detail", help="Leave out chunks and attempts alone.")] = False,
) -> None:
    """Show one job with its chunks and last attempts."""
    view = JobView.BASIC if basic else JobView.DETAIL if detail else JobView.FULL
    with session.client() as client:
        job = client.get_job(job_id, view=view, uid=uid, owner=owner)
    if session.as_json:
        _json.print_message(job)
    elif job.chunks:
        session.console.print(Group(_tables.job(job), Text(), _tables.chunks(job.chunks)))
        if job.attempts:
            session.console.print(Group(Text(), _tables.attempts(job.attempts)))
    else:
        session.console.print(_tables.job(job))


def status(
    session: Session,
    job_ids: JobIdList,
    *,
    owner: Owner = "",
) -> None:
    """Show the state of up to 500 jobs, in the order given; the cheapest way to read many."""
    with session.client() as client:
        batch = client.batch_get_jobs(job_ids, view=JobView.STATUS, owner=owner)
    if session.as_json:
        _json.print_message(batch)
    else:
        session.console.print(_tables.statuses(batch.jobs, width=session.console.width))
        for job_id in batch.missing_job_ids:
            session.print_note(f"job {job_id} does not exist")
    if batch.missing_job_ids:
        raise typer.Exit(NOT_FOUND)


def list_jobs(
    session: Session,
    *,
    order: Annotated[
        JobOrder | None, choice(names(JobOrder), "The field to sort by, and how. [default: CREATE_TIME_DESC]")
    ] = None,
    page_size: PageSize = 20,
    page_token: PageToken = "",
    all_pages: AllPages = False,
    filter_fields: "JobFilterFields",
) -> None:
    """List jobs, newest first."""
    with session.client() as client:
        pages = client.list_jobs(
            order=order or JobOrder.CREATE_TIME_DESC,
            page_size=page_size,
            page_token=page_token,
            **filter_fields,
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.jobs(page.jobs, width=session.console.width))
        at_least = "at least " if page.total_is_lower_bound else ""
        session.print_note(f"{len(page.jobs):,} of {at_least}{page.total_size:,} jobs")
        print_next_page(session, page.next_page_token)


def list_chunks(
    session: Session,
    job_id: JobId,
    *,
    state: Annotated[list[ChunkState] | None, choice(names(ChunkState), "May be repeated.")] = None,
    claimable: Annotated[bool, typer.Option("--claimable", help="Only those that a worker may claim now.")] = False,
    uid: Uid = "",
    owner: Owner = "",
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List a job's chunks."""
    with session.client() as client:
        pages = client.list_chunks(
            job_id,
            states=state or (),
            claimable=claimable,
            uid=uid,
            owner=owner,
            page_size=page_size,
            page_token=page_token,
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.chunks(page.chunks))
        print_next_page(session, page.next_page_token)


def list_attempts(
    session: Session,
    job_id: JobId,
    *,
    chunk: Annotated[int | None, typer.Option(metavar="N", help="Only those at this chunk, by index.")] = None,
    task: Annotated[str, typer.Option(metavar="ID", help="Only those to which an engine gave this id.")] = "",
    uid: Uid = "",
    owner: Owner = "",
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List the attempts at a job's chunks: by chunk, then oldest first."""
    with session.client() as client:
        pages = client.list_attempts(
            job_id, chunk_index=chunk, task_id=task, uid=uid, owner=owner, page_size=page_size, page_token=page_token
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.attempts(page.attempts))
        print_next_page(session, page.next_page_token)


def list_events(
    session: Session,
    job_id: Annotated[
        str, typer.Argument(metavar="[JOB_ID]", help="[default: all jobs]", autocompletion=completion.job_ids)
    ] = "",
    *,
    uid: Annotated[
        str,
        typer.Option(
            metavar="UID", help="Of several jobs that had this id: which one. [default: the present one, or the last]"
        ),
    ] = "",
    actor: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Who did it: a worker, NAME/KEY_ID, or NAME/ for all keys of that name."),
    ] = None,
    change: Annotated[list[ChangeType] | None, choice(names(ChangeType), "What was done. May be repeated.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME|DURATION", help="At or after this time.")] = None,
    before: Annotated[str | None, typer.Option(metavar="TIME|DURATION", help="Before this time.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Of jobs of this kind. May be repeated.", autocompletion=completion.kinds),
    ] = None,
    owner: Owner = "",
    all_owners: Annotated[bool, typer.Option("--all-owners", help="With an admin's key.")] = False,
    order: Annotated[
        EventOrder | None, choice(names(EventOrder), "Newest or oldest first. [default: POSITION_DESC]")
    ] = None,
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """Show the history of one job, or of all, newest first: each change with its actor and time."""
    times = _parse.past_time("--since", since), _parse.past_time("--before", before)
    with session.client() as client:
        pages = client.list_events(
            job_id,
            uid=uid,
            actors=actor or (),
            change_types=change or (),
            commit_time=times if any(times) else None,
            kinds=kind or (),
            owner=owner,
            all_owners=all_owners,
            order=order or EventOrder.POSITION_DESC,
            page_size=page_size,
            page_token=page_token,
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.events(page.events, of_many=not job_id))
        print_next_page(session, page.next_page_token)
