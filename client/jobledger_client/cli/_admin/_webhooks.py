"""The commands for webhooks: `jobledger webhooks …`."""

from typing import Annotated, Any

import typer
from jobledger.v1.webhook_pb2 import Webhook
from jobledger.v1.webhook_service_pb2 import DeleteWebhookResponse, RedeliverWebhookResponse

from jobledger_client._generated._enums import WebhookDeliveryState, WebhookEventType, WebhookState
from jobledger_client.cli import _format as formatting
from jobledger_client.cli import _json, _parse, _tables
from jobledger_client.cli._choices import EVENT_TYPES, Reason, choice, names
from jobledger_client.cli._pages import AllPages, PageToken, print_next_page, read_pages
from jobledger_client.cli._session import Session, command, new_app

FAILED = 1
"""The exit code of a ping without a 2xx response."""

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="The webhook.")]
Events = Annotated[
    list[WebhookEventType] | None,
    choice(EVENT_TYPES, "An event type to deliver; may be repeated."),
]
Percents = Annotated[
    list[int] | None, typer.Option(metavar="N", help="A percent that causes job.progress; may be repeated.")
]
Kinds = Annotated[list[str] | None, typer.Option(metavar="KIND", help="Only jobs of this kind; may be repeated.")]
Labels = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only jobs with this label; may be repeated.")
]
States = Annotated[list[WebhookDeliveryState] | None, choice(names(WebhookDeliveryState), "May be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = new_app()
    command(
        group,
        "create",
        "jobledger webhooks create https://example.org/hooks",
        "jobledger webhooks create https://example.org/hooks --event job.progress --percent 50 --event job.completed",
    )(create)
    command(group, "list", "jobledger webhooks list")(list_webhooks)
    command(
        group,
        "update",
        "jobledger webhooks update WEBHOOK_ID --resume",
        "jobledger webhooks update WEBHOOK_ID --url https://example.org/new --kind crawl.images",
    )(update)
    command(group, "rotate", "jobledger webhooks rotate WEBHOOK_ID --grace-period 2d")(rotate)
    command(group, "delete", "jobledger webhooks delete WEBHOOK_ID")(delete)
    command(group, "deliveries", "jobledger webhooks deliveries WEBHOOK_ID --state DEAD")(deliveries)
    command(
        group,
        "redeliver",
        "jobledger webhooks redeliver WEBHOOK_ID --delivery DELIVERY_ID",
        "jobledger webhooks redeliver WEBHOOK_ID --since-position 1200 --state DEAD",
    )(redeliver)
    command(group, "ping", "jobledger webhooks ping WEBHOOK_ID && echo it listens")(ping)
    app.add_typer(group, name="webhooks", help="Receive events over HTTP.", no_args_is_help=True)


def create(
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="The https URL of the receiver.")],
    *,
    event: Events = None,
    percent: Percents = None,
    kind: Kinds = None,
    label: Labels = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="A description for people.")] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Record nothing until it is resumed.")] = False,
    reason: Reason = "",
) -> None:
    """Create a webhook; print its id and its secret, which is not shown again.

    Without --event it receives all events but job.progress.
    """
    with session.client() as client:
        response = client.webhooks.create_webhook(
            url,
            event_types=event or (),
            progress_percents=percent or (),
            kinds=kind or (),
            labels=_parse.pairs("--label", label or ()),
            description=description,
            state=WebhookState.DISABLED if disabled else WebhookState.ACTIVE,
            reason=reason,
        )
    if session.as_json:
        _json.print_message(response)
    else:
        _print_secret(session, response.webhook, response.secret)


def list_webhooks(session: Session) -> None:
    """List webhooks, oldest first."""
    with session.client() as client:
        page = read_pages(client.webhooks.list_webhooks(), all_pages=True)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.webhooks(page.webhooks))


def update(
    session: Session,
    webhook_id: WebhookId,
    *,
    url: Annotated[str | None, typer.Option(metavar="URL", help="The new URL.")] = None,
    event: Events = None,
    percent: Percents = None,
    kind: Kinds = None,
    label: Labels = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The new description; an empty one removes it.")
    ] = None,
    disable: Annotated[bool, typer.Option("--disable", help="Record and deliver nothing.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume it, even after a pause; pending deliveries are sent.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Change a webhook.

    Other fields stay unchanged; a list replaces the whole list.
    """
    changes: dict[str, Any] = {
        "url": url,
        "event_types": event,
        "progress_percents": percent,
        "kinds": kind,
        "labels": _parse.pairs("--label", label) if label else None,
        "description": description,
        "state": WebhookState.DISABLED if disable else WebhookState.ACTIVE if resume else None,
    }
    if disable and resume:
        raise typer.BadParameter("--disable and --resume exclude each other; pass one of them")
    if all(value is None for value in changes.values()):
        raise typer.BadParameter(
            "a change is required: --url, --event, --percent, --kind, --label, --description, --disable or --resume"
        )
    with session.client() as client:
        webhook = client.webhooks.update_webhook(webhook_id, reason=reason, **changes)
    if session.as_json:
        _json.print_message(webhook)
    else:
        _print_line(session, f"{webhook_id}: updated ({WebhookState(webhook.state).name})")


def rotate(
    session: Session,
    webhook_id: WebhookId,
    *,
    grace_period: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long the old secrets still sign. [default: 24h]")
    ] = None,
    reason: Reason = "",
) -> None:
    """Create a new secret and print it; it is not shown again."""
    with session.client() as client:
        response = client.webhooks.rotate_webhook_secret(
            webhook_id, grace_period=_parse.duration("--grace-period", grace_period), reason=reason
        )
    if session.as_json:
        _json.print_message(response)
    else:
        _print_secret(session, response.webhook, response.secret)


def delete(session: Session, webhook_id: WebhookId, *, reason: Reason = "") -> None:
    """Delete a webhook and its deliveries."""
    with session.client() as client:
        client.webhooks.delete_webhook(webhook_id, reason=reason)
    if session.as_json:
        _json.print_message(DeleteWebhookResponse())
    else:
        _print_line(session, f"{webhook_id}: deleted")


def deliveries(
    session: Session,
    webhook_id: WebhookId,
    *,
    state: States = None,
    page_size: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many to show.")] = 50,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List a webhook's deliveries, newest first, with their outcomes."""
    with session.client() as client:
        pages = client.webhooks.list_webhook_deliveries(
            webhook_id, states=state or (), page_size=page_size, page_token=page_token
        )
        page = read_pages(pages, all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.deliveries(page.deliveries))
        print_next_page(session, page.next_page_token)


def redeliver(
    session: Session,
    webhook_id: WebhookId,
    *,
    delivery: Annotated[str, typer.Option(metavar="DELIVERY_ID", help="One delivery.")] = "",
    since_position: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="All deliveries of events at this position and after it.")
    ] = None,
    state: States = None,
    reason: Reason = "",
) -> None:
    """Repeat one delivery, or all since a position.

    Without --state, --since-position repeats the DELIVERED and DEAD ones.
    """
    with session.client() as client:
        count = client.webhooks.redeliver_webhook(
            webhook_id, delivery_id=delivery, since_position=since_position, states=state or (), reason=reason
        )
    if session.as_json:
        _json.print_message(RedeliverWebhookResponse(redelivered_count=count))
    else:
        _print_line(session, f"{count} repeated")


def ping(session: Session, webhook_id: WebhookId) -> int:
    """Post a test event and print the outcome.

    Exits with 0 when the receiver responds with 2xx, else with 1.
    """
    with session.client() as client:
        response = client.webhooks.ping_webhook(webhook_id)
    if session.as_json:
        _json.print_message(response)
    else:
        _print_line(session, f"{webhook_id}: {formatting.attempt(response.attempt)}")
    return 0 if response.delivered else FAILED


def _print_secret(session: Session, webhook: Webhook, secret: str) -> None:
    _print_line(session, f"webhook: {webhook.webhook_id}\nsecret:  {secret}")


def _print_line(session: Session, sentence: str) -> None:
    session.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
