"""A webhook: the events that it receives, its secrets, and how it is disabled, paused and resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.bounds.limits import DAY, SECOND
from jobledger_service.core.model.history.change import Change, ChangeType
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.states import JobState, WebhookState

DEFAULT_PERCENTS: Final = (25, 50, 75)

MAX_WEBHOOKS: Final = 100
MAX_SECRETS: Final = 5
SECRET_SHOWN: Final = DAY
"""The time for which a repeated, equal CreateWebhook returns the secret."""


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


DEFAULT_EVENT_TYPES: Final = tuple(
    event_type for event_type in WebhookEventType if event_type is not WebhookEventType.JOB_PROGRESS
)

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
    types: list[WebhookEventType] = []
    for change in changes:
        if change.to_state == change.from_state:
            continue
        event_type = _OF_CHANGE.get(change.type) or (_OF_STATE.get(change.to_state) if change.to_state else None)
        if event_type is not None:
            types.append(event_type)
    if progressed:
        ends = (WebhookEventType.JOB_COMPLETED, WebhookEventType.JOB_FAILED, WebhookEventType.JOB_CANCELLED)
        place = next((n for n, event_type in enumerate(types) if event_type in ends), len(types))
        types.insert(place, WebhookEventType.JOB_PROGRESS)
    return types


def reached(percents: Sequence[int], before: float, after: float) -> list[int]:
    """Return the percents that a job reached on its way from one to another, together."""
    return [percent for percent in percents if before < percent <= after]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs deliveries; it signs until `expire_time`, None for the newest."""

    value: str = field(repr=False)
    create_time: Micros
    expire_time: Micros | None = None

    def signs(self, now: Micros) -> bool:
        """Whether it signs deliveries at a time."""
        return self.expire_time is None or now < self.expire_time


class Missed(MsgStruct, frozen=True):
    """Positions, both inclusive, that were trimmed before a webhook had read them."""

    first_position: int
    last_position: int
    detect_time: Micros


class Webhook(MsgStruct, frozen=True):
    """An HTTP endpoint of one owner. It receives events after position `after`; times are in microseconds."""

    owner: str
    webhook_id: str
    url: str
    secrets: tuple[Secret, ...]
    create_time: Micros
    update_time: Micros
    after: int = 0
    event_types: tuple[WebhookEventType, ...] = DEFAULT_EVENT_TYPES
    progress_percents: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    description: str = ""
    state: WebhookState = WebhookState.ACTIVE
    state_reason: str = ""
    state_time: Micros = Micros(0)
    failing_since_time: Micros | None = None
    missed_events: Missed | None = None
    request_id: str = ""
    fingerprint: bytes = b""

    @property
    def key(self) -> str:
        """The key of its row."""
        return webhook_key(self.owner, self.webhook_id)

    def concerns(self, owner: str, kind: str, labels: Mapping[str, str]) -> bool:
        """Whether it receives events of a job: of the service's own only when their kind is named."""
        return (
            owner == self.owner
            and (kind in self.kinds if self.kinds else not is_reserved(kind))
            and all(labels.get(name) == value for name, value in self.labels.items())
        )

    def signing(self, now: Micros) -> list[str]:
        """Return the secrets that sign at a time, the newest first."""
        return [secret.value for secret in self.secrets if secret.signs(now)]

    def shown_secret(self, now: Micros) -> str:
        """Return the secret for a repeated, equal creation; empty when it was rotated or is no longer shown."""
        first = self.secrets[0]
        rotated = first.create_time != self.create_time or len(self.secrets) > 1
        return "" if rotated or now >= first.create_time + SECRET_SHOWN else first.value


def webhook_key(owner: str, webhook_id: str) -> str:
    """Return the key of a webhook's row."""
    return f"{owner}/{webhook_id}"


def owner_of(key: str) -> str:
    """Return the owner of the webhook with a key."""
    return key.partition("/")[0]


def update(webhook: Webhook, new: Mapping[str, Any], now: Micros) -> Webhook:
    """Return the webhook with new values of some fields; one that is enabled starts again without failures.

    Raises InvalidField for percents of progress that is not reported.
    """
    state: WebhookState | None = new.get("state")
    changed = replace(webhook, update_time=now, **{name: value for name, value in new.items() if name != "state"})
    percents: tuple[int, ...] = ()
    if WebhookEventType.JOB_PROGRESS in changed.event_types:
        percents = changed.progress_percents or DEFAULT_PERCENTS
    elif new.get("progress_percents"):
        raise InvalidField(("progress_percents", "must be absent unless event_types has JOB_PROGRESS"))
    changed = replace(changed, progress_percents=percents)
    if state is None:
        return changed
    return replace(changed, state_reason="") if state is changed.state else _enter(changed, state, "", now)


def rotate(webhook: Webhook, value: str, grace_period: int, now: Micros) -> Webhook:
    """Return the webhook with a new secret; others sign for `grace_period` microseconds, or less if they do."""
    until = Micros(now + grace_period)
    older = [
        Secret(
            secret.value, secret.create_time, until if secret.expire_time is None else min(secret.expire_time, until)
        )
        for secret in webhook.secrets
    ]
    signing = [secret for secret in older if secret.signs(now)]
    signing.sort(key=lambda secret: (secret.expire_time or 0, secret.create_time), reverse=True)
    kept = signing[: MAX_SECRETS - 1]
    kept.sort(key=lambda secret: secret.create_time, reverse=True)
    return replace(webhook, secrets=(Secret(value, now), *kept), update_time=now)


def answered(webhook: Webhook, failed_at: int | None, *, gone: bool, pause_after: int, now: Micros) -> Webhook:
    """Return the webhook after attempts: `failed_at` is when the first of them failed, None when one succeeded.

    `gone` is an answer of 410, which disables it. One that has failed for `pause_after` microseconds is paused.
    """
    if webhook.state is not WebhookState.ACTIVE:
        return webhook
    if gone:
        return _enter(webhook, WebhookState.DISABLED, "the receiver answered 410 Gone", now)
    if failed_at is None:
        return webhook if webhook.failing_since_time is None else replace(webhook, failing_since_time=None)
    since = failed_at if webhook.failing_since_time is None else webhook.failing_since_time
    webhook = webhook if since == webhook.failing_since_time else replace(webhook, failing_since_time=since)
    if now - since < pause_after:
        return webhook
    reason = f"every attempt failed for {pause_after / SECOND:g} s"
    return _enter(webhook, WebhookState.PAUSED, reason, now)


def _enter(webhook: Webhook, state: WebhookState, reason: str, now: Micros) -> Webhook:
    failing = None if state is WebhookState.ACTIVE else webhook.failing_since_time
    return replace(webhook, state=state, state_reason=reason, state_time=now, failing_since_time=failing)
