"""The pages of webhooks: all of them, and one with its deliveries."""

from collections.abc import Sequence
from typing import Final

from jobledger.v1.webhook_pb2 import Webhook, WebhookAttempt, WebhookDelivery
from jobledger.v1.webhook_service_pb2 import ListWebhookDeliveriesResponse, ListWebhooksResponse
from jobledger_client import WebhookDeliveryState, WebhookEventType, WebhookState
from nicegui import ui

from jobledger_console import elements
from jobledger_console.components.facts import show_facts
from jobledger_console.components.fields import show_toggle
from jobledger_console.components.forms import Form, Values
from jobledger_console.components.messages import show_button, show_empty, show_heading
from jobledger_console.components.parts import Part
from jobledger_console.components.states import SIGNS, show_state, words
from jobledger_console.components.table import Column, DataTable, Row, link_cell, state_cell
from jobledger_console.page import Page, PageKind
from jobledger_console.pages.reading import Reading
from jobledger_console.wording import local_time, milliseconds, plural

_READ_SECONDS: Final = 5.0
_PAGE_SIZE: Final = 50
_HOOK_COLUMNS: Final = (
    Column("state", "State", "state"),
    Column("webhook", "Webhook", "link"),
    Column("events", "Events"),
    Column("kinds", "Kinds", optional=True),
    Column("failing", "Failing since", "time"),
    Column("created", "Created", "time", optional=True),
)
_DELIVERY_COLUMNS: Final = (
    Column("state", "State", "state"),
    Column("event", "Event"),
    Column("job", "Job", "link"),
    Column("attempts", "Attempts", "number"),
    Column("last", "Last attempt"),
    Column("created", "Recorded", "time"),
    Column("next", "Next attempt", "time", optional=True),
)


def event_name(number: int) -> str:
    """Return the type as a delivery has it: job.completed."""
    return WebhookEventType(number).name.lower().replace("_", ".")


async def build_list(page: Page) -> None:
    """Draw the page of all webhooks."""
    with ui.element("div").classes("row-of page-head"):
        show_heading("Webhooks", 1)
    drawn: list[tuple[DataTable, ui.element]] = []

    def draw(response: ListWebhooksResponse) -> None:
        if not drawn:
            table, empty = DataTable(_HOOK_COLUMNS, caption="Webhooks"), ui.element("div")
            with empty:
                command = "Create one:  jobledger webhooks create https://example.org/hooks --event job.completed"
                show_empty("No webhooks", command)
            drawn.append((table, empty))
        [(table, empty)] = drawn
        table.set_rows([_hook_row(page, webhook) for webhook in response.webhooks])
        table.set_visibility(bool(response.webhooks))
        empty.set_visibility(not response.webhooks)

    client = page.client
    Reading[ListWebhooksResponse](page, draw, seconds=_READ_SECONDS).ask(
        "webhooks", lambda _: client.webhooks.list_webhooks().page()
    )


def _hook_row(page: Page, webhook: Webhook) -> Row:
    return {
        "key": webhook.webhook_id,
        "state": state_cell(WebhookState(webhook.state).name, webhook.state_reason),
        "webhook": link_cell(webhook.url, page.address(f"/webhooks/{webhook.webhook_id}"), webhook.description),
        "events": ", ".join(map(event_name, webhook.event_types)),
        "kinds": ", ".join(webhook.kinds) or "all",
        "failing": milliseconds(webhook.failing_since_time) if webhook.HasField("failing_since_time") else None,
        "created": milliseconds(webhook.create_time),
    }


class WebhookView:
    """The page of one webhook, as one visitor sees it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._webhook_id = page.parameters["webhook_id"]
        self._states: set[WebhookDeliveryState] = set()
        self._deliveries: Reading[ListWebhookDeliveriesResponse]
        self._hook: Reading[Webhook]
        self._head: Part | None = None
        self._table: DataTable | None = None
        self._empty: ui.element
        self._paging: ui.element

    def open(self) -> None:
        """Draw the webhook and its deliveries, and read them again while the page is open."""
        client, webhook_id = self._page.client, self._webhook_id
        with ui.element("div").classes("row-of page-head"):
            show_heading("Webhook", 1)
        self._hook = Reading(self._page, self._draw_hook, seconds=_READ_SECONDS)
        self._hook.ask(("webhook", webhook_id), lambda _: client.webhooks.get_webhook(webhook_id))
        with ui.element("div").classes("row-of page-head below"):
            show_heading("Deliveries").classes("grow")
        with ui.element("div").classes("row-of toggles") as toggles:
            toggles.props["role"] = "group"
            toggles.props["aria-label"] = "States"
            for state in WebhookDeliveryState:
                self._show_toggle(state)
        self._deliveries = Reading(self._page, self._draw_deliveries, seconds=_READ_SECONDS)
        self._ask()

    def _show_toggle(self, state: WebhookDeliveryState) -> None:
        def change(is_on: bool) -> None:  # noqa: FBT001 - one argument
            (self._states.add if is_on else self._states.discard)(state)
            self._ask()

        label = f"{SIGNS[state.name]} {words(state.name)}"
        show_toggle(label, is_on=False, on_change=change, classes=f"state-{state.name}")

    def _ask(self) -> None:
        client, webhook_id, states = self._page.client, self._webhook_id, tuple(sorted(self._states))
        after = self._page.query.get("after", "")
        self._deliveries.ask(
            ("deliveries", webhook_id, states, after),
            lambda _: client.webhooks.list_webhook_deliveries(
                webhook_id, states=states, page_size=_PAGE_SIZE, page_token=after
            ).page(),
        )

    def _draw_hook(self, webhook: Webhook) -> None:
        if self._head is None:
            self._head = Part("card")
        self._head.show(webhook.SerializeToString(deterministic=True), lambda: self._show_hook(webhook))

    def _show_hook(self, webhook: Webhook) -> None:
        _show_hook(webhook)
        if self._page.access.may_write:
            self._show_buttons(webhook)

    def _show_buttons(self, webhook: Webhook) -> None:
        with ui.element("div").classes("row-of hook-buttons"):
            if webhook.state != WebhookState.ACTIVE:
                show_button("Enable", lambda: self._set_state(WebhookState.ACTIVE), classes="primary")
            if webhook.state != WebhookState.DISABLED:
                show_button("Disable", lambda: self._set_state(WebhookState.DISABLED))
            show_button("Send a test event", lambda: self._page.spawn(self._ping()))
            show_button("Redeliver all that were given up", self._redeliver_dead)

    def _set_state(self, state: WebhookState) -> None:
        is_active = state == WebhookState.ACTIVE

        async def change(values: Values) -> str:
            await self._page.client.webhooks.update_webhook(self._webhook_id, state=state, reason=values["reason"])
            self._refresh()
            return f"The webhook is {'active' if is_active else 'disabled'}."

        title, verb = ("Enable the webhook", "Enable") if is_active else ("Disable the webhook", "Disable")
        what = (
            "Events are recorded and delivered again. Those of the time when it was disabled are not."
            if is_active
            else "No events are recorded for it, and nothing is delivered, until it is enabled."
        )
        Form(self._page, title, verb, change, sentences=[what], is_danger=not is_active).add_reason()

    async def _ping(self) -> None:
        answer = (await self._page.client.webhooks.ping_webhook(self._webhook_id)).attempt
        elements.notify(f"The receiver {_outcome(answer.status_code, answer.error)}.")

    def _redeliver_dead(self) -> None:
        async def redeliver(values: Values) -> str:
            count = await self._page.client.webhooks.redeliver_webhook(
                self._webhook_id, since_position=0, states=[WebhookDeliveryState.DEAD], reason=values["reason"]
            )
            self._refresh()
            return f"{plural(count, 'delivery').replace('deliverys', 'deliveries')} will be repeated."

        sentences = ["All deliveries that were given up, and are still kept, are tried again from the first attempt."]
        Form(self._page, "Redeliver all that were given up", "Redeliver", redeliver, sentences=sentences).add_reason()

    def _redeliver(self, delivery_id: str, _: str) -> None:
        async def redeliver(values: Values) -> str:
            await self._page.client.webhooks.redeliver_webhook(
                self._webhook_id, delivery_id=delivery_id, reason=values["reason"]
            )
            self._refresh()
            return "The delivery will be repeated."

        sentences = [f"The receiver gets delivery {delivery_id} again, with the same id."]
        Form(self._page, "Redeliver", "Redeliver", redeliver, sentences=sentences).add_reason()

    def _refresh(self) -> None:
        self._hook.refresh()
        self._deliveries.refresh()

    def _draw_deliveries(self, response: ListWebhookDeliveriesResponse) -> None:
        if self._table is None:
            actions = (Column("again", "Redeliver", "action"),) if self._page.access.may_write else ()
            self._table = DataTable((*_DELIVERY_COLUMNS, *actions), caption="Deliveries", on_action=self._redeliver)
            self._empty = ui.element("div")
            with self._empty:
                show_empty("No deliveries", "Each event of a job that the webhook selects is recorded here.")
            self._paging = ui.element("div").classes("row-of paging")
        self._table.set_rows([_delivery_row(self._page, delivery) for delivery in response.deliveries])
        self._table.set_visibility(bool(response.deliveries))
        self._empty.set_visibility(not response.deliveries)
        self._draw_paging(response.next_page_token)

    def _draw_paging(self, next_page_token: str) -> None:
        self._paging.clear()
        with self._paging:
            if self._page.query.get("after"):
                show_button("Newest", lambda: self._turn(""))
            if next_page_token:
                show_button("Older", lambda: self._turn(next_page_token))

    def _turn(self, after: str) -> None:
        self._page.show_address(after=after)
        self._ask()


def _show_hook(webhook: Webhook) -> None:
    with ui.element("div").classes("row-of"):
        show_state(WebhookState(webhook.state).name)
        ui.label(webhook.url).classes("mono address")
    for sentence in filter(None, (webhook.description, webhook.state_reason)):
        ui.label(sentence).classes("quiet hook-sentence")
    facts = {
        "Events": ", ".join(map(event_name, webhook.event_types)),
        "Kinds": ", ".join(webhook.kinds) or "all",
        "Labels": ", ".join(f"{name}={value}" for name, value in sorted(webhook.labels.items())) or "any",
        "State since": local_time(webhook.state_time),
        "Created": local_time(webhook.create_time),
    }
    if webhook.progress_percents:
        facts["Progress at"] = ", ".join(f"{percent} %" for percent in webhook.progress_percents)
    if webhook.HasField("failing_since_time"):
        facts["Failing since"] = local_time(webhook.failing_since_time)
    if webhook.HasField("missed_events"):
        missed = webhook.missed_events
        facts["Events lost to it"] = f"positions {missed.first_position:,} to {missed.last_position:,}"
    show_facts(facts)


def _delivery_row(page: Page, delivery: WebhookDelivery) -> Row:
    state = WebhookDeliveryState(delivery.state)
    return {
        "key": delivery.delivery_id,
        "state": state_cell(state.name),
        "event": event_name(delivery.event_type),
        "job": link_cell(delivery.job_id, page.address(f"/jobs/{delivery.job_id}")),
        "attempts": f"{delivery.attempt_count:,}",
        "last": _last(delivery.attempts),
        "created": milliseconds(delivery.create_time),
        "next": milliseconds(delivery.next_attempt_time) if delivery.HasField("next_attempt_time") else None,
        "again": None if state == WebhookDeliveryState.PENDING else "Redeliver",
    }


def _last(attempts: Sequence[WebhookAttempt]) -> str:
    if not attempts:
        return "none yet"
    return f"{_outcome(attempts[-1].status_code, attempts[-1].error)} ({attempts[-1].duration.ToMilliseconds():,} ms)"


def _outcome(status_code: int, error: str) -> str:
    return error or f"answered {status_code}"


async def build(page: Page) -> None:
    """Draw the page of one webhook."""
    WebhookView(page).open()


KINDS: Final = (
    PageKind("/webhooks", "Webhooks", build_list, label="Webhooks"),
    PageKind("/webhooks/{webhook_id}", "Webhook", build),
)
