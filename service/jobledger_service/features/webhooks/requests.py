"""Requests of WebhookService as values of the feature, and its webhooks and deliveries as messages."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from jobledger.v1 import webhook_pb2
from jobledger.v1 import webhook_service_pb2 as api
from msgspec.structs import replace

from jobledger_service.core.api.checks import MAX_NUMBERS, Checks, shown
from jobledger_service.core.api.convert import maker
from jobledger_service.core.api.job_requests import MAX_PATHS, request_id
from jobledger_service.core.api.list_requests import labels
from jobledger_service.core.model.bounds.limits import DAY
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import DeliveryState, WebhookState

from .deliveries import Delivery, DeliveryAttempt
from .rules import DEFAULT_EVENT_TYPES, Missed, Secret, Webhook, WebhookEventType

WEBHOOK_ID: Final = re.compile(r"[0-9a-f-]{1,64}")
HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")
MAX_PERCENTS: Final = 20
WEB_PORTS: Final = (None, 80, 443)
FREE_PORTS: Final = 1_024
MAX_POSITION: Final = 2**63 - 1
UPDATABLE: Final = ("url", "event_types", "progress_percents", "kinds", "labels", "description", "state")

EVENT_TYPES_BY_NUMBER: Final[dict[int, WebhookEventType]] = {
    webhook_pb2.WebhookEventType.Value(f"WEBHOOK_EVENT_TYPE_{event_type.name}"): event_type
    for event_type in WebhookEventType
}
STATES_BY_NUMBER: Final[dict[int, DeliveryState]] = {
    webhook_pb2.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{state}"): state for state in DeliveryState
}
_CHOSEN_STATES: Final[dict[int, WebhookState]] = {
    webhook_pb2.WEBHOOK_STATE_ACTIVE: WebhookState.ACTIVE,
    webhook_pb2.WEBHOOK_STATE_DISABLED: WebhookState.DISABLED,
}

attempt_message: Callable[[DeliveryAttempt], webhook_pb2.WebhookAttempt] = maker(
    DeliveryAttempt, webhook_pb2.WebhookAttempt
)
delivery_message: Callable[[Delivery], webhook_pb2.WebhookDelivery] = maker(
    Delivery, webhook_pb2.WebhookDelivery, WebhookAttempt=attempt_message
)
_webhook_message = maker(
    Webhook,
    webhook_pb2.Webhook,
    MissedEvents=maker(Missed, webhook_pb2.MissedEvents),
    WebhookSecret=maker(Secret, webhook_pb2.WebhookSecret),
)


def webhook_message(webhook: Webhook, now: Micros) -> webhook_pb2.Webhook:
    """Return a webhook as a message, with the times of the secrets that sign."""
    return _webhook_message(replace(webhook, secrets=tuple(secret for secret in webhook.secrets if secret.signs(now))))


def create_webhook(request: api.CreateWebhookRequest, *, allow_http: bool) -> dict[str, Any]:
    """Return the values of the fields of CreateWebhook."""
    with Checks() as checks:
        request_id(checks, request.request_id)
        _check_url(checks, request.url, allow_http=allow_http)
        fields = _fields(checks, request, frozenset(UPDATABLE))
        if request.progress_percents and WebhookEventType.JOB_PROGRESS not in fields["event_types"]:
            checks.fault("progress_percents", "must be absent unless event_types has JOB_PROGRESS")
    return fields


def update_webhook(request: api.UpdateWebhookRequest, *, allow_http: bool) -> dict[str, Any]:
    """Return the new values of the fields that UpdateWebhook changes."""
    with Checks() as checks:
        _check_id(checks, request.webhook_id)
        checks.count("update_mask", len(request.update_mask.paths), MAX_PATHS)
        named = frozenset(request.update_mask.paths)
        if not named:
            checks.fault("update_mask", f"is required: name one or more of {', '.join(UPDATABLE)}")
        for name in sorted(named.difference(UPDATABLE)):
            checks.one_of("update_mask", shown(name), UPDATABLE)
        if "url" in named:
            _check_url(checks, request.url, allow_http=allow_http)
        return _fields(checks, request, named)


def _fields(checks: Checks, request: Any, named: frozenset[str]) -> dict[str, Any]:  # noqa: ANN401  two messages have them
    checks.kinds("kinds", request.kinds)
    checks.at_most("description", request.description, 1_024)
    checks.reason(request.reason)
    event_types = checks.numbers("event_types", request.event_types, EVENT_TYPES_BY_NUMBER)
    values = {
        "url": request.url,
        "event_types": tuple(dict.fromkeys(event_types)) or DEFAULT_EVENT_TYPES,
        "progress_percents": _percents(checks, request.progress_percents),
        "kinds": tuple(dict.fromkeys(request.kinds)),
        "labels": labels(checks, "labels", request.labels),
        "description": request.description,
        "state": checks.member("state", request.state, _CHOSEN_STATES, WebhookState.ACTIVE),
    }
    return {name: value for name, value in values.items() if name in named}


def _percents(checks: Checks, percents: Sequence[int]) -> tuple[int, ...]:
    checks.count("progress_percents", len(percents), MAX_NUMBERS)
    distinct = sorted(set(percents))
    checks.count("progress_percents", len(distinct), MAX_PERCENTS)
    for percent in distinct:
        checks.within("progress_percents", percent, 1, 99)
    return tuple(distinct)


def _check_url(checks: Checks, url: str, *, allow_http: bool) -> None:
    """Record violations of a URL's form. Its address is checked at each post."""
    if not url or len(url) > 2_048:  # noqa: PLR2004  the contract's bound
        checks.at_most("url", url, 2_048, min_length=1)
        return
    rule = _broken_rule(url, {"https", "http"} if allow_http else {"https"})
    if rule:
        checks.fault("url", f"value {shown(url)} {rule}")


def _broken_rule(url: str, schemes: set[str]) -> str:
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "must have only characters of a URL; write an international host name in its xn-- form"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL"
    named = " or ".join(sorted(schemes, reverse=True))
    rules = {
        f"must be a URL with the scheme {named}": parts.scheme in schemes,
        "must be a URL with a host": HOST.fullmatch(parts.hostname or ""),
        "must not have a user name or a password: deliveries are signed instead": "@" not in parts.netloc,
        "must not have a fragment, which is never sent": "#" not in url,
        f"must have port 80, 443 or 1024 to 65535; got {port}": port in WEB_PORTS or port >= FREE_PORTS,
    }
    return next((rule for rule, kept in rules.items() if not kept), "")


def _check_id(checks: Checks, value: str) -> None:
    checks.form("webhook_id", value, WEBHOOK_ID, "an id that CreateWebhook returned")


def webhook_id(request: Any) -> str:  # noqa: ANN401  many messages have one
    """Return the id of a request's webhook."""
    with Checks() as checks:
        _check_id(checks, request.webhook_id)
        checks.reason(getattr(request, "reason", ""))
    return str(request.webhook_id)


def grace_period(request: api.RotateWebhookSecretRequest) -> int:
    """Return how long older secrets continue to sign, in microseconds."""
    with Checks() as checks:
        return checks.span(request, "grace_period", 0, 30 * DAY, absent=DAY)


def listed_states(request: api.ListWebhookDeliveriesRequest) -> frozenset[DeliveryState]:
    """Return the states of ListWebhookDeliveries."""
    with Checks() as checks:
        return frozenset(checks.numbers("states", request.states, STATES_BY_NUMBER))


def redelivered_states(request: api.RedeliverWebhookRequest) -> frozenset[DeliveryState]:
    """Check RedeliverWebhook, which names a delivery or a position; return the states of the deliveries after that."""
    with Checks() as checks:
        _check_id(checks, request.webhook_id)
        states = frozenset(checks.numbers("states", request.states, STATES_BY_NUMBER))
        if request.HasField("since_position"):
            checks.within("since_position", request.since_position, 0, MAX_POSITION)
            if request.delivery_id:
                checks.fault("delivery_id", "must not be combined with since_position")
        elif not request.delivery_id:
            checks.fault("delivery_id", "is required unless since_position is given")
        elif request.states:
            checks.fault("states", "must not be combined with delivery_id")
        checks.at_most("delivery_id", request.delivery_id, 128)
        checks.reason(request.reason)
    return states or frozenset({DeliveryState.DELIVERED, DeliveryState.DEAD})
