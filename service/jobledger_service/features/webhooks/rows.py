"""Rows of webhooks and deliveries to values, and back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import convert, json, to_builtins

from jobledger_service.core.store.cells import json_text
from jobledger_service.core.store.tables import deliveries

from .deliveries import ATTEMPTS_KEPT, Attempt, Delivery
from .rules import Webhook

DELIVERY_COLUMNS: Final = [deliveries.c[name] for name in Delivery.__struct_fields__]
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
    columns = dict(zip(Delivery.__struct_fields__, row, strict=True))
    return convert(columns | {"attempts": json.decode(row.attempts)}, Delivery)


def delivery_row(delivery: Delivery, body: bytes) -> dict[str, Any]:
    """Return all columns of a new delivery: it waits, or is DEAD from the start."""
    columns: dict[str, Any] = to_builtins(delivery)
    return {**columns, "attempts": attempts_text(delivery.attempts), "body": body, "tries": 0}
