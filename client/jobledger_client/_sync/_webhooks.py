# Generated from _async/_webhooks.py by client/generate_sync.py: edit that module, then run `make gen`.
"""The calls of WebhookService: events over HTTP."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from jobledger.v1 import webhook_service_pb2 as rpc
from jobledger.v1.webhook_pb2 import Webhook, WebhookDelivery
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._generated._enums import WebhookDeliveryState, WebhookEventType, WebhookState
from jobledger_client._generated._errors import WebhookNotFoundError
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._pages import Pages

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class WebhookCalls:
    """Webhooks and their deliveries."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._stub = WebhookServiceStub(channel)
        self._caller = caller

    def create_webhook(
        self,
        url: str,
        *,
        event_types: Iterable[WebhookEventType] = (),
        progress_percents: Iterable[int] = (),
        kinds: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        description: str = "",
        state: WebhookState = WebhookState.ACTIVE,
        reason: str = "",
        request_id: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.CreateWebhookResponse:
        """Create a webhook; the response has its `secret`, which no later response shows.

        Empty `event_types` mean all but job.progress; empty `progress_percents` (1 to 99) mean 25, 50 and 75. Without a
        `request_id` the client makes one, so that a repeated attempt creates no second webhook.

        Raises InvalidFieldError, RequestIdReusedError, TooManyWebhooksError.
        """
        request = rpc.CreateWebhookRequest(
            request_id=request_id or str(uuid4()),
            url=url,
            event_types=values.numbers(event_types),
            progress_percents=progress_percents,
            kinds=kinds,
            labels=labels or {},
            description=description,
            state=values.number(state),
            reason=reason,
        )
        return self._caller.call(self._stub.CreateWebhook, request, timeout=timeout)

    def get_webhook(self, webhook_id: str, *, timeout: timedelta | None = None) -> Webhook:
        """Return the webhook, without its secrets. Raises InvalidFieldError, WebhookNotFoundError."""
        request = rpc.GetWebhookRequest(webhook_id=webhook_id)
        return (self._caller.call(self._stub.GetWebhook, request, timeout=timeout)).webhook

    def list_webhooks(
        self, *, page_size: int = 0, page_token: str = "", timeout: timedelta | None = None
    ) -> Pages[rpc.ListWebhooksResponse, Webhook]:
        """List the caller's webhooks, oldest first. `page_size` is 1 to 100, 100 when 0."""
        request = rpc.ListWebhooksRequest(page_size=page_size, page_token=page_token)
        return Pages(self._caller, self._stub.ListWebhooks, request, lambda page: page.webhooks, timeout)

    def update_webhook(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        event_types: Iterable[WebhookEventType] | None = None,
        progress_percents: Iterable[int] | None = None,
        kinds: Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        state: WebhookState | None = None,
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> Webhook:
        """Change the fields that are not None; return the webhook. The state ACTIVE resumes a paused one.

        Raises InvalidFieldError (also when all fields are None), WebhookNotFoundError.
        """
        changes = requests.changes(
            url=url,
            event_types=None if event_types is None else values.numbers(event_types),
            progress_percents=progress_percents,
            kinds=kinds,
            labels=labels,
            description=description,
            state=values.number(state),
        )
        request = rpc.UpdateWebhookRequest(webhook_id=webhook_id, reason=reason, **changes)
        return (self._caller.call(self._stub.UpdateWebhook, request, timeout=timeout)).webhook

    def delete_webhook(self, webhook_id: str, *, reason: str = "", timeout: timedelta | None = None) -> None:
        """Delete a webhook and its deliveries. Raises InvalidFieldError, WebhookNotFoundError."""
        request = rpc.DeleteWebhookRequest(webhook_id=webhook_id, reason=reason)
        try:
            self._caller.call(self._stub.DeleteWebhook, request, timeout=timeout)
        except WebhookNotFoundError as error:
            if error.attempts == 1:  # else an earlier attempt deleted it, and its response was lost
                raise

    def rotate_webhook_secret(
        self,
        webhook_id: str,
        *,
        grace_period: values.DurationLike | None = None,
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> rpc.RotateWebhookSecretResponse:
        """Create a new secret, which no later response shows; the old ones still sign for `grace_period` (None: 24 h).

        Raises InvalidFieldError, WebhookNotFoundError.
        """
        request = rpc.RotateWebhookSecretRequest(
            webhook_id=webhook_id, grace_period=values.duration(grace_period), reason=reason
        )
        return self._caller.call(self._stub.RotateWebhookSecret, request, timeout=timeout)

    def list_webhook_deliveries(
        self,
        webhook_id: str,
        *,
        states: Iterable[WebhookDeliveryState] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: timedelta | None = None,
    ) -> Pages[rpc.ListWebhookDeliveriesResponse, WebhookDelivery]:
        """List a webhook's deliveries with their attempts, newest first. `page_size` is 1 to 500, 50 when 0."""
        request = rpc.ListWebhookDeliveriesRequest(
            webhook_id=webhook_id,
            states=values.numbers(states),
            page_size=page_size,
            page_token=page_token,
        )
        return Pages(self._caller, self._stub.ListWebhookDeliveries, request, lambda page: page.deliveries, timeout)

    def redeliver_webhook(
        self,
        webhook_id: str,
        *,
        delivery_id: str = "",
        since_position: int | None = None,
        states: Iterable[WebhookDeliveryState] = (),
        reason: str = "",
        timeout: timedelta | None = None,
    ) -> int:
        """Repeat one delivery, or all since a position that are in `states`; return how many.

        Empty `states` mean DELIVERED and DEAD. Raises InvalidFieldError, WebhookNotFoundError, DeliveryNotFoundError.
        """
        request = rpc.RedeliverWebhookRequest(
            webhook_id=webhook_id,
            delivery_id=delivery_id,
            since_position=since_position,
            states=values.numbers(states),
            reason=reason,
        )
        return (self._caller.call(self._stub.RedeliverWebhook, request, timeout=timeout)).redelivered_count

    def ping_webhook(
        self, webhook_id: str, *, timeout: timedelta | None = timedelta(seconds=30)
    ) -> rpc.PingWebhookResponse:
        """Post a test event and return the outcome. The operator limits how long the receiver may take.

        Raises InvalidFieldError, WebhookNotFoundError.
        """
        request = rpc.PingWebhookRequest(webhook_id=webhook_id)
        return self._caller.call(self._stub.PingWebhook, request, timeout=timeout)
