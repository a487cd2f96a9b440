"""The commands that read: get, list, chunks, events."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from jobledger_client.cli import _json, _parse, _tables
from jobledger_client.cli._pages import AllPages, PageToken, read_pages, say_more
from jobledger_client.cli._session import Session, command

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]
PageSize = Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many to show.")]
Since = typer.Option(metavar="TIME|SPAN", help="At or after this time, or at most this long ago (2h).")
Before = typer.Option(metavar="TIME|SPAN", help="Before this time, or longer ago.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "get", "jobledger get JOB_ID", "jobledger get JOB_ID --output json | jq .progress")(get)
    command(
        app,
        "list",
        "jobledger list --state FAILED --created-since 24h",
        "jobledger list --kind crawl.images --order PRIORITY --page-size 100",
        "jobledger list --all --output json | jq -r '.jobs[] | [.jobId, .state] | @tsv'",
    )(list_jobs)
    command(app, "chunks", "jobledger chunks JOB_ID --state FAILED")(list_chunks)
    command(app, "events", "jobledger events JOB_ID --all")(list_events)


def get(
    session: Session,
    job_id: JobId,
    *,
    basic: Annotated[bool, typer.Option("--basic", help="Leave out input and chunks.")] = False,
) -> None:
    """Show one job and its chunks."""
    with session.client() as client:
        job = client.get_job(job_id, view="BASIC" if basic else "FULL")
    if session.as_json:
        _json.document(job)
    elif job.chunks:
        session.console.print(Group(_tables.job(job), Text(), _tables.chunks(job.chunks)))
    else:
        session.console.print(_tables.job(job))


def list_jobs(
    session: Session,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="QUEUED, RUNNING, CANCELLING, COMPLETED, FAILED or CANCELLED; repeat it."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="May be repeated.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated; all must match.")
    ] = None,
    text: Annotated[str, typer.Option(metavar="TEXT", help="Contained in the display name.")] = "",
    min_priority: Annotated[int | None, typer.Option(metavar="N", help="0 to 10.")] = None,
    max_priority: Annotated[int | None, typer.Option(metavar="N", help="0 to 10.")] = None,
    created_since: Annotated[str | None, Since] = None,
    created_before: Annotated[str | None, Before] = None,
    ended_since: Annotated[str | None, Since] = None,
    ended_before: Annotated[str | None, Before] = None,
    order: Annotated[
        str, typer.Option(metavar="ORDER", help="CREATE_TIME, UPDATE_TIME, END_TIME or PRIORITY.")
    ] = "CREATE_TIME",
    ascending: Annotated[bool, typer.Option("--ascending", help="Oldest, or lowest, first.")] = False,
    page_size: PageSize = 20,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List jobs, newest first."""
    filter_: JobFilterFields = {
        "states": state or (),
        "kinds": kind or (),
        "labels": _parse.pairs("--label", label or ()),
        "text": text,
        "min_priority": min_priority,
        "max_priority": max_priority,
        "create_time": (
            _parse.moment("--created-since", created_since),
            _parse.moment("--created-before", created_before),
        ),
    }
    if ended_since or ended_before:
        filter_["end_time"] = (
            _parse.moment("--ended-since", ended_since),
            _parse.moment("--ended-before", ended_before),
        )
    with session.client() as client:
        pages = client.list_jobs(
            order=order, ascending=ascending, page_size=page_size, page_token=page_token, **filter_
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.document(page)
    else:
        session.console.print(_tables.jobs(page.jobs, width=session.console.width))
        more = "more than " if page.total_is_lower_bound else ""
        session.console.print(f"{len(page.jobs):,} of {more}{page.total_size:,} jobs", style="dim", highlight=False)
        say_more(session, page.next_page_token)


def list_chunks(
    session: Session,
    job_id: JobId,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="PENDING, PROCESSING, COMPLETED, FAILED or CANCELLED; repeat it."),
    ] = None,
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List a job's chunks."""
    with session.client() as client:
        pages = client.list_chunks(job_id, states=state or (), page_size=page_size, page_token=page_token)
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.document(page)
    else:
        session.console.print(_tables.chunks(page.chunks))
        say_more(session, page.next_page_token)


def list_events(
    session: Session,
    job_id: JobId,
    *,
    page_size: PageSize = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """Show a job's history, oldest first: who did what, and when."""
    with session.client() as client:
        pages = client.list_job_events(job_id, page_size=page_size, page_token=page_token)
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.document(page)
    else:
        session.console.print(_tables.events(page.events))
        say_more(session, page.next_page_token)
