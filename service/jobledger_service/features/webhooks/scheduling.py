"""Which PENDING deliveries are attempted and which wait: those with a next_attempt_time are, the others wait.

Of the deliveries of one job to one webhook only the first that is PENDING has a time, and none of a webhook that is
not ACTIVE has one. The caller holds the rows of the webhooks, so that two transactions never judge by what the
other is about to change. Locks are taken in this order: the place, webhooks by key, deliveries.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, literal_column, or_, select, update

from jobledger_service.core.model.states import WebhookState
from jobledger_service.core.store.tables import deliveries, pending, scheduled, webhooks

from .rows import webhook_of
from .rules import Webhook

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


def lock(connection: Connection, keys: Iterable[str]) -> dict[str, Webhook]:
    """Return those webhooks that exist, by key, locked in that order."""
    wanted = select(webhooks.c.webhook).where(webhooks.c.webhook_key.in_(sorted(keys)))
    rows = connection.execute(wanted.order_by(webhooks.c.webhook_key).with_for_update())
    return {webhook.key: webhook for webhook in map(webhook_of, rows)}


def schedule(connection: Connection, webhook: Webhook, now: int, *which: ColumnElement[bool]) -> None:
    """Schedule the due deliveries of a webhook, all or those of a condition; nothing if it is not ACTIVE."""
    if webhook.state is WebhookState.ACTIVE:
        connection.execute(_SCHEDULE.where(*which), {"key": webhook.key, "now": now})


def unschedule(connection: Connection, webhook: Webhook, now: int) -> None:
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
