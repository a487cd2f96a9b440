"""Rows of webhooks and deliveries to values, and back."""

from typing import Any, Final

from msgspec import convert, json, to_builtins
from sqlalchemy import bindparam

from jobledger_service.core.store.cells import json_text
from jobledger_service.core.store.tables import deliveries

from .deliveries import Delivery
from .rules import Webhook

DELIVERY_COLUMNS: Final = [deliveries.c[name] for name in Delivery.__struct_fields__]
LISTED_COLUMNS: Final = DELIVERY_COLUMNS[:-1]
"""All but the body, which is the last one."""
IS_ROW: Final = (
    deliveries.c.webhook_key == bindparam("key"),
    deliveries.c.position == bindparam("at"),
    deliveries.c.ordinal == bindparam("nth"),
)
_OUTCOME: Final = ("state", "attempts", "tries", "first_attempt_time", "next_attempt_time", "end_time")
_WEBHOOK: Final = json.Decoder(Webhook)


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


def delivery_of(row: Any) -> Delivery:  # noqa: ANN401  a row of DELIVERY_COLUMNS or LISTED_COLUMNS
    """Return the delivery of a row."""
    columns = dict(zip(Delivery.__struct_fields__, row, strict=False))
    return convert(columns | {"attempts": json.decode(row.attempts)}, Delivery)


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return all columns of a new delivery: it waits, or is DEAD from the start."""
    columns: dict[str, Any] = to_builtins(delivery, builtin_types=(bytes,))
    return columns | {"attempts": json_text(delivery.attempts)}


def row_place(place: tuple[str, int, int]) -> dict[str, Any]:
    """Return the parameters of IS_ROW."""
    return dict(zip(("key", "at", "nth"), place, strict=True))


def outcome_row(delivery: Delivery) -> dict[str, Any]:
    """Return the parameters of IS_ROW, and the columns that an attempt changes."""
    row = delivery_row(delivery)
    return row_place(delivery.place) | {name: row[name] for name in _OUTCOME}
