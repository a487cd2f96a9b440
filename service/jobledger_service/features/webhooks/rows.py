"""Rows of webhooks and deliveries to values, and back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import json

from jobledger_service.core.model.job import NO_LABELS
from jobledger_service.core.model.states import DeliveryState, WebhookState
from jobledger_service.core.store.cells import json_text
from jobledger_service.core.store.tables import deliveries, webhooks

from .deliveries import ATTEMPTS_KEPT, Attempt, Delivery
from .event_types import WebhookEventType
from .rules import Missed, Secret, Webhook

WEBHOOK_COLUMNS: Final = list(webhooks.c)
DELIVERY_COLUMNS: Final = [
    deliveries.c[name]
    for name in (
        *("webhook_key", "position", "ordinal", "job_key", "event_type", "create_time"),
        *("state", "attempts", "attempt_count", "next_attempt_time", "end_time"),
    )
]


def webhook_of(row: Any) -> Webhook:  # noqa: ANN401  a row of WEBHOOK_COLUMNS
    """Return the webhook of a row."""
    return Webhook(
        owner=row.owner,
        webhook_id=row.webhook_id,
        url=row.url,
        secrets=tuple(Secret(*values) for values in json.decode(row.secrets)),
        create_time=row.create_time,
        update_time=row.update_time,
        after=row.after_position,
        event_types=tuple(map(WebhookEventType, json.decode(row.event_types))),
        percents=tuple(json.decode(row.percents)),
        kinds=tuple(json.decode(row.kinds)),
        labels=json.decode(row.labels) or NO_LABELS,
        description=row.description,
        state=WebhookState(row.state),
        state_reason=row.state_reason,
        state_time=row.state_time,
        failing_since=row.failing_since,
        missed=Missed(*json.decode(row.missed)) if row.missed else None,
        request_id=row.request_id or "",
        fingerprint=row.fingerprint,
    )


def webhook_row(webhook: Webhook) -> dict[str, Any]:
    """Return all columns of a webhook."""
    missed = webhook.missed
    return {
        "webhook_key": webhook.key,
        "owner": webhook.owner,
        "webhook_id": webhook.webhook_id,
        "url": webhook.url,
        "secrets": json_text([[one.value, one.create_time, one.expire_time] for one in webhook.secrets]),
        "event_types": json_text(webhook.event_types),
        "percents": json_text(webhook.percents),
        "kinds": json_text(webhook.kinds),
        "labels": json_text(dict(webhook.labels)),
        "description": webhook.description,
        "state": webhook.state.value,
        "state_reason": webhook.state_reason,
        "state_time": webhook.state_time,
        "failing_since": webhook.failing_since,
        "missed": json_text([missed.first, missed.last, missed.time]) if missed else None,
        "after_position": webhook.after,
        "request_id": webhook.request_id or None,
        "fingerprint": webhook.fingerprint,
        "create_time": webhook.create_time,
        "update_time": webhook.update_time,
    }


def attempts_of(text: str) -> tuple[Attempt, ...]:
    """Return the attempts of a column."""
    return tuple(Attempt(*values) for values in json.decode(text))


def attempts_text(attempts: Sequence[Attempt]) -> str:
    """Return the latest attempts as a column."""
    kept = attempts[-ATTEMPTS_KEPT:]
    return json_text([[one.time, one.duration, one.status_code, one.error] for one in kept])


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
