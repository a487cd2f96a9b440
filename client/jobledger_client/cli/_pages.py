"""Lists in pages: their options, the reading of one page or all, and the hint for the next page."""

from typing import Annotated, Any, TypeVar

import typer
from jobledger.v1.admin_service_pb2 import GetUsageResponse, ListQuotasResponse
from jobledger.v1.job_service_pb2 import (
    ListAttemptsResponse,
    ListChunksResponse,
    ListEventsResponse,
    ListJobsResponse,
)
from jobledger.v1.webhook_service_pb2 import ListWebhookDeliveriesResponse, ListWebhooksResponse

from jobledger_client._sync._pages import Pages
from jobledger_client.cli._session import Session

AnyPage = TypeVar(
    "AnyPage",
    ListJobsResponse,
    ListChunksResponse,
    ListAttemptsResponse,
    ListEventsResponse,
    ListWebhooksResponse,
    ListWebhookDeliveriesResponse,
    GetUsageResponse,
    ListQuotasResponse,
)

PageToken = Annotated[str, typer.Option(metavar="TOKEN", help="The token of the page to show.")]
AllPages = Annotated[bool, typer.Option("--all", help="Show all pages.")]


def read_pages(pages: Pages[AnyPage, Any], *, all_pages: bool) -> AnyPage:
    """Return the first page, or all of them as one."""
    unread = pages.pages()
    page = next(unread)
    if all_pages:
        for more in unread:
            page.MergeFrom(more)
        page.ClearField("next_page_token")
    return page


def print_next_page(session: Session, next_page_token: str) -> None:
    """Print how to show the next page, if there is one."""
    if next_page_token:
        session.print_note(f"more follow: --all, or --page-token {next_page_token}")
