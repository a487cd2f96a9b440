"""Bodies of webhook deliveries: JSON, made of the ledger's messages."""

import base64
from collections.abc import Sequence
from typing import Any, Final

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse as Message
from msgspec import json

from jobledger_service.core.api import convert
from jobledger_service.core.model.change import Change
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.store.reads import EventRow

from .event_types import WebhookEventType
from .rules import Webhook

PING: Final = "webhook.ping"


def body(event_type: WebhookEventType, event: Message, percents: Sequence[int], output: bytes | None = None) -> bytes:
    """Return the body of a delivery: JSON in UTF-8. `output` is that of a job that is COMPLETED, encoded."""
    content: dict[str, Any] = {
        "type": event_type.value,
        "timestamp": event.event.commit_time.ToJsonString(),
        "position": event.event.position,
        "cursor": base64.b64encode(event.cursor).decode(),
        "data": _basic(event.job),
    }
    if output is not None:
        content["data"]["output"] = convert.struct_content(output)
    if event_type is WebhookEventType.JOB_PROGRESS:
        content["percents"] = list(percents)
    return json.encode(content)


def unreadable(event_type: WebhookEventType, row: EventRow) -> bytes:
    """Return the body of a delivery of an event that cannot be shown: its place, without its job."""
    job_id = job_id_of(row.job_key)
    return json.encode({"type": event_type.value, "position": row.position, "data": {"jobId": job_id}})


def ping(webhook: Webhook, now: int) -> bytes:
    """Return the body of a ping."""
    data = {"webhookId": webhook.webhook_id, "owner": webhook.owner}
    return json.encode({"type": PING, "timestamp": convert.timestamp(now).ToJsonString(), "data": data})


def _basic(job: Job) -> dict[str, Any]:
    """Return a job in view BASIC in the JSON form of protobuf, with the fields that are at their default."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415  as in convert.py

    shown: dict[str, Any] = MessageToDict(job, always_print_fields_with_no_presence=True)
    del shown["chunks"]
    return shown


def changes_of(event: Message) -> list[Change]:
    """Return the changes of a stored event, as far as its type depends on them."""
    return [
        Change(
            type=convert.CHANGE_TYPES_BY_NUMBER[one.type],
            actor=one.actor,
            from_state=convert.JOB_STATES_BY_NUMBER.get(one.from_state),
            to_state=convert.JOB_STATES_BY_NUMBER.get(one.to_state),
        )
        for one in event.event.changes
    ]
