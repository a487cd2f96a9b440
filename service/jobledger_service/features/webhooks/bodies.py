"""Bodies of webhook deliveries: JSON, made of the ledger's messages."""

import base64
from collections.abc import Sequence
from typing import Any, Final, cast

from google.protobuf.json_format import MessageToDict
from jobledger.v1.event_pb2 import Change as ChangeMessage
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse as Message
from msgspec import json

from jobledger_service.core.api import convert
from jobledger_service.core.api.codec import whole
from jobledger_service.core.ledger.read_ports import EventRow
from jobledger_service.core.model.change import Change
from jobledger_service.core.model.job import job_id_of

from .event_types import WebhookEventType
from .rules import Webhook
from .values import WebhookEvent

PING: Final = "webhook.ping"


class WebhookCodec:
    """Reads stored watch messages, and makes bodies of them."""

    def read(self, row: EventRow) -> WebhookEvent:
        """Return the content of a stored event."""
        message = Message.FromString(whole(row))
        job = message.job
        return WebhookEvent(
            position=row.position,
            job_key=row.job_key,
            owner=job.owner,
            kind=job.kind,
            labels=dict(job.labels),
            percent=job.progress.percent,
            revision=job.revision,
            changes=[_change(one) for one in message.event.changes],
            message=message,
        )

    def percent(self, message: bytes) -> float:
        """Return the percent of its job after a stored event, 0 to 100."""
        return Message.FromString(message).job.progress.percent

    def body(self, event_type: WebhookEventType, event: WebhookEvent, percents: Sequence[int]) -> bytes:
        """Return the body of a delivery: JSON in UTF-8."""
        message = cast("Message", event.message)
        body: dict[str, Any] = {
            "type": event_type.value,
            "timestamp": message.event.commit_time.ToJsonString(),
            "position": event.position,
            "cursor": base64.b64encode(message.cursor).decode(),
            "data": _basic(message.job),
        }
        if event_type is WebhookEventType.JOB_PROGRESS:
            body["percents"] = list(percents)
        return json.encode(body)

    def unreadable(self, event_type: WebhookEventType, row: EventRow) -> bytes:
        """Return the body of a delivery of an event that cannot be shown: its place, without its job."""
        job_id = job_id_of(row.job_key)
        return json.encode({"type": event_type.value, "position": row.position, "data": {"jobId": job_id}})

    def ping(self, webhook: Webhook, now: int) -> bytes:
        """Return the body of a ping."""
        data = {"webhookId": webhook.webhook_id, "owner": webhook.owner}
        return json.encode({"type": PING, "timestamp": convert.timestamp(now).ToJsonString(), "data": data})


def _basic(job: Job) -> dict[str, Any]:
    """Return a job in view BASIC in the JSON form of protobuf, with the fields that are at their default."""
    shown: dict[str, Any] = MessageToDict(job, always_print_fields_with_no_presence=True)
    del shown["chunks"]
    return shown


def _change(message: ChangeMessage) -> Change:
    return Change(
        type=convert.CHANGE_TYPES_BY_NUMBER[message.type],
        actor=message.actor,
        from_state=convert.JOB_STATES_BY_NUMBER.get(message.from_state),
        to_state=convert.JOB_STATES_BY_NUMBER.get(message.to_state),
    )
