"""Rows of webhooks and deliveries: to values and back, locked, and which PENDING deliveries are attempted.

A PENDING delivery is attempted at its next_attempt_time, and waits without one. Only the first PENDING delivery of a
job to an ACTIVE webhook has a time. The caller holds the rows of the webhooks, so that two transactions never judge by
what the other is about to change. Locks are taken in this order: the place, webhooks by key, deliveries.
"""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import convert, json, to_builtins
from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, literal_column, or_, select, update

from jobledger_service.core.database.cells import json_text
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import WebhookState

from .deliveries import Delivery
from .rules import Webhook
from .tables import deliveries, pending, scheduled, webhooks

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

_earlier = deliveries.alias("earlier")
_has_earlier = exists(
    select(_earlier.c.position).where(
        _earlier.c.webhook_key == deliveries.c.webhook_key,
        _earlier.c.job_key == deliveries.c.job_key,
        _earlier.c.state == literal_column("'PENDING'"),
        or_(
            _earlier.c.position < deliveries.c.position,
            and_(_earlier.c.position == deliveries.c.position, _earlier.c.ordinal < deliveries.c.ordinal),
        ),
    )
)
unlocked = or_(deliveries.c.locked_until.is_(None), deliveries.c.locked_until <= bindparam("now"))
"""The condition that no attempt of a delivery runs; it takes the parameter `now`."""
_SCHEDULE = (
    update(deliveries)
    .where(deliveries.c.webhook_key == bindparam("key"), pending, ~scheduled, ~_has_earlier)
    .values(next_attempt_time=bindparam("now"))
)
_UNSCHEDULE = (
    update(deliveries)
    .where(deliveries.c.webhook_key == bindparam("key"), pending, scheduled, unlocked)
    .values(next_attempt_time=None)
)


def webhook_of(row: Any) -> Webhook:  # noqa: ANN401  a row of webhooks
    """Return the webhook of a row."""
    return _WEBHOOK.decode(row.webhook)


def webhook_row(webhook: Webhook) -> dict[str, Any]:
    """Return all columns of a webhook: those that queries use, and the encoded webhook."""
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


def lock(connection: Connection, keys: Iterable[str]) -> dict[str, Webhook]:
    """Return those webhooks that exist, by key, locked in that order."""
    query = select(webhooks.c.webhook).where(webhooks.c.webhook_key.in_(sorted(keys)))
    rows = connection.execute(query.order_by(webhooks.c.webhook_key).with_for_update())
    return {webhook.key: webhook for webhook in map(webhook_of, rows)}


def schedule(connection: Connection, webhook: Webhook, now: Micros, *which: ColumnElement[bool]) -> None:
    """Schedule the due deliveries of a webhook, all or those of a condition; nothing if it is not ACTIVE."""
    if webhook.state is WebhookState.ACTIVE:
        connection.execute(_SCHEDULE.where(*which), {"key": webhook.key, "now": now})


def unschedule(connection: Connection, webhook: Webhook, now: Micros) -> None:
    """Unschedule the deliveries of a webhook that are not due, except those whose attempt runs."""
    statement = _UNSCHEDULE.where(_has_earlier) if webhook.state is WebhookState.ACTIVE else _UNSCHEDULE
    connection.execute(statement, {"key": webhook.key, "now": now})


def reset_attempts(connection: Connection, webhook: Webhook) -> None:
    """Reset the failed attempts of the waiting deliveries: their schedule starts again."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook_key == webhook.key, pending, deliveries.c.tries > 0)
        .values(tries=0, first_attempt_time=None)
    )
