"""The event types of an entry for webhooks: none, one or several, in the order in which they happened."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from jobledger_service.core.model.change import Change, ChangeType
from jobledger_service.core.model.states import JobState


class WebhookEventType(StrEnum):
    """The type of an event in the body of a delivery."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"
    JOB_PROGRESS = "job.progress"
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_RETRIED = "job.retried"
    JOB_DELETED = "job.deleted"


DEFAULT_EVENT_TYPES: Final = tuple(one for one in WebhookEventType if one is not WebhookEventType.JOB_PROGRESS)
DEFAULT_PERCENTS: Final = (25, 50, 75)

_OF_CHANGE: Final = {
    ChangeType.CREATED: WebhookEventType.JOB_CREATED,
    ChangeType.RETRIED: WebhookEventType.JOB_RETRIED,
    ChangeType.DELETED: WebhookEventType.JOB_DELETED,
}
_OF_STATE: Final = {
    JobState.RUNNING: WebhookEventType.JOB_STARTED,
    JobState.COMPLETED: WebhookEventType.JOB_COMPLETED,
    JobState.FAILED: WebhookEventType.JOB_FAILED,
    JobState.CANCELLED: WebhookEventType.JOB_CANCELLED,
}


def event_types(changes: Sequence[Change], *, progressed: bool) -> list[WebhookEventType]:
    """Return the types of an entry's changes; progress precedes the end of the job, and is else the last."""
    found: list[WebhookEventType] = []
    for change in changes:
        if change.to_state == change.from_state:
            continue
        event_type = _OF_CHANGE.get(change.type) or (_OF_STATE.get(change.to_state) if change.to_state else None)
        if event_type is not None:
            found.append(event_type)
    if progressed:
        ends = (WebhookEventType.JOB_COMPLETED, WebhookEventType.JOB_FAILED, WebhookEventType.JOB_CANCELLED)
        place = next((n for n, event_type in enumerate(found) if event_type in ends), len(found))
        found.insert(place, WebhookEventType.JOB_PROGRESS)
    return found


def reached(percents: Sequence[int], before: float, after: float) -> list[int]:
    """Return the percents that a job reached on its way from one to another, together."""
    return [percent for percent in percents if before < percent <= after]
