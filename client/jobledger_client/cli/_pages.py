"""Lists in pages: the options for them, one page or all as one, and where to go on."""

from typing import Annotated, Any, TypeVar

import typer
from jobledger.v1.admin_service_pb2 import GetUsageResponse
from jobledger.v1.job_service_pb2 import ListChunksResponse, ListJobEventsResponse, ListJobsResponse
from jobledger.v1.webhook_service_pb2 import ListWebhookDeliveriesResponse, ListWebhooksResponse

from jobledger_client._sync._pages import Pages
from jobledger_client.cli._session import Session

AnyPage = TypeVar(
    "AnyPage",
    ListJobsResponse,
    ListChunksResponse,
    ListJobEventsResponse,
    ListWebhooksResponse,
    ListWebhookDeliveriesResponse,
    GetUsageResponse,
)

PageToken = Annotated[str, typer.Option(metavar="TOKEN", help="Go on with this page, as the page before says.")]
AllPages = Annotated[bool, typer.Option("--all", help="Show all, over as many pages as it takes.")]


def read_pages(pages: Pages[AnyPage, Any], *, all_pages: bool) -> AnyPage:
    """Return the first page, or all of them as one."""
    unread = pages.pages()
    page = next(unread)
    if all_pages:
        for more in unread:
            page.MergeFrom(more)
        page.ClearField("next_page_token")
    return page


def say_more(session: Session, next_page_token: str) -> None:
    """Say how to go on, when there is more."""
    if next_page_token:
        session.note(f"there are more: --all, or --page-token {next_page_token}")
