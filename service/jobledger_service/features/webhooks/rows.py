"""Rows of webhooks and deliveries to values, and back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import json

from jobledger_service.core.model.states import DeliveryState
from jobledger_service.core.store.cells import json_text
from jobledger_service.core.store.tables import deliveries

from .deliveries import ATTEMPTS_KEPT, Attempt, Delivery
from .event_types import WebhookEventType
from .rules import Webhook

DELIVERY_COLUMNS: Final = [
    deliveries.c[name]
    for name in (
        *("webhook_key", "position", "ordinal", "job_key", "event_type", "create_time"),
        *("state", "attempts", "attempt_count", "next_attempt_time", "end_time"),
    )
]


_WEBHOOK: Final = json.Decoder(Webhook)
_ATTEMPTS: Final = json.Decoder(tuple[Attempt, ...])


def webhook_of(row: Any) -> Webhook:  # noqa: ANN401  a row of webhooks
    """Return the webhook of a row."""
    return _WEBHOOK.decode(row.webhook)


def webhook_row(webhook: Webhook) -> dict[str, Any]:
    """Return all columns of a webhook: what it is found by, and all of it."""
    return {
        "webhook_key": webhook.key,
        "owner": webhook.owner,
        "webhook_id": webhook.webhook_id,
        "state": webhook.state.value,
        "request_id": webhook.request_id or None,
        "webhook": json_text(webhook),
    }


def attempts_of(text: str) -> tuple[Attempt, ...]:
    """Return the attempts of a column."""
    return _ATTEMPTS.decode(text)


def attempts_text(attempts: Sequence[Attempt]) -> str:
    """Return the latest attempts as a column."""
    return json_text(attempts[-ATTEMPTS_KEPT:])


def delivery_of(row: Any) -> Delivery:  # noqa: ANN401  a row of DELIVERY_COLUMNS
    """Return the delivery of a row."""
    return Delivery(
        webhook_key=row.webhook_key,
        position=row.position,
        ordinal=row.ordinal,
        job_key=row.job_key,
        event_type=WebhookEventType(row.event_type),
        create_time=row.create_time,
        state=DeliveryState(row.state),
        attempts=attempts_of(row.attempts),
        attempt_count=row.attempt_count,
        next_attempt_time=row.next_attempt_time,
        end_time=row.end_time,
    )


def delivery_row(delivery: Delivery, body: bytes) -> dict[str, Any]:
    """Return all columns of a new delivery: it waits, or is DEAD from the start."""
    return {
        "webhook_key": delivery.webhook_key,
        "position": delivery.position,
        "ordinal": delivery.ordinal,
        "job_key": delivery.job_key,
        "event_type": delivery.event_type.value,
        "body": body,
        "state": delivery.state.value,
        "attempts": attempts_text(delivery.attempts),
        "attempt_count": delivery.attempt_count,
        "tries": 0,
        "create_time": delivery.create_time,
        "end_time": delivery.end_time,
    }
