"""Webhooks, deliveries and attempts as messages of the contract."""

from collections.abc import Callable

from jobledger.v1 import webhook_pb2

from jobledger_service.core.api.convert import duration, timestamp
from jobledger_service.core.api.message_functions import message_maker
from jobledger_service.core.model.job import job_id_of

from .deliveries import Attempt, Delivery, delivery_id
from .requests import EVENT_TYPES, STATES, WEBHOOK_STATES
from .rules import Missed, Secret, Webhook

_TIMES = {"Timestamp": timestamp, "Duration": duration}
attempt_message: Callable[[Attempt], webhook_pb2.WebhookAttempt] = message_maker(
    Attempt, webhook_pb2.WebhookAttempt, _TIMES
)
_secret = message_maker(Secret, webhook_pb2.WebhookSecret, _TIMES)


def webhook_message(webhook: Webhook, now: int) -> webhook_pb2.Webhook:
    """Return a webhook; of its secrets only their times."""
    return webhook_pb2.Webhook(
        webhook_id=webhook.webhook_id,
        owner=webhook.owner,
        url=webhook.url,
        event_types=[EVENT_TYPES[one] for one in webhook.event_types],
        progress_percents=webhook.percents,
        kinds=webhook.kinds,
        labels=webhook.labels,
        description=webhook.description,
        state=WEBHOOK_STATES[webhook.state],
        state_reason=webhook.state_reason,
        state_time=timestamp(webhook.state_time),
        failing_since_time=None if webhook.failing_since is None else timestamp(webhook.failing_since),
        missed_events=_missed(webhook.missed),
        secrets=[_secret(secret) for secret in webhook.secrets if secret.signs(now)],
        create_time=timestamp(webhook.create_time),
        update_time=timestamp(webhook.update_time),
    )


def _missed(missed: Missed | None) -> webhook_pb2.MissedEvents | None:
    if missed is None:
        return None
    return webhook_pb2.MissedEvents(
        first_position=missed.first, last_position=missed.last, detect_time=timestamp(missed.detect_time)
    )


def delivery_message(delivery: Delivery, webhook_id: str) -> webhook_pb2.WebhookDelivery:
    """Return a delivery, without its body."""
    again, end = delivery.next_attempt_time, delivery.end_time
    return webhook_pb2.WebhookDelivery(
        delivery_id=delivery_id(webhook_id, delivery.position, delivery.ordinal),
        webhook_id=webhook_id,
        event_type=EVENT_TYPES[delivery.event_type],
        job_id=job_id_of(delivery.job_key),
        position=delivery.position,
        state=STATES[delivery.state],
        attempts=map(attempt_message, delivery.attempts),
        attempt_count=delivery.attempt_count,
        create_time=timestamp(delivery.create_time),
        next_attempt_time=None if again is None else timestamp(again),
        end_time=None if end is None else timestamp(end),
    )
