"""The command that shows usage: calls, errors and bytes."""

from typing import Annotated

import typer

from jobledger_client._generated._enums import UsageDimension
from jobledger_client.cli import _json, _parse, _tables
from jobledger_client.cli._choices import choice
from jobledger_client.cli._pages import AllPages, PageToken, print_next_page, read_pages
from jobledger_client.cli._session import Session, command

_DIMENSIONS = {dimension.name.lower(): dimension for dimension in UsageDimension}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "usage",
        "jobledger usage --by owner --since 2026-01-01T00:00Z --until 2026-02-01T00:00Z",
        "jobledger usage --key 0123456789ab --by day",
        "jobledger usage --all --output json | jq '.usage[].calls'",
    )(usage)


def usage(
    session: Session,
    *,
    by: Annotated[
        list[UsageDimension] | None,
        choice(_DIMENSIONS, "The dimension to sum by; may be repeated. [default: all four]"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME|DURATION", help="The start, as far back as its day (UTC) begins.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME|DURATION", help="The end, up to the end of its day (UTC). [default: now]"),
    ] = None,
    owner: Annotated[str, typer.Option(metavar="OWNER", help="Only this owner.")] = "",
    key: Annotated[str, typer.Option(metavar="KEY_ID", help="Only this key.")] = "",
    page_size: Annotated[int, typer.Option(min=1, max=5_000, metavar="N", help="How many to show.")] = 500,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """Show the calls by day, owner, key and method; this requires an admin's key."""
    time_range = (_parse.past_time("--since", since), _parse.past_time("--until", until))
    with session.client() as client:
        pages = client.admin.get_usage(
            time_range=time_range if any(time_range) else None,
            owner=owner,
            key_id=key,
            group_by=by or (),
            page_size=page_size,
            page_token=page_token,
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.usage(page.usage))
        if page.HasField("quota"):
            session.console.print(_tables.quotas([page.quota]))
        print_next_page(session, page.next_page_token)
