# Generated from _async/_webhooks.py by client/generate_sync.py: edit that one, then run `make gen`.
"""The calls of WebhookService, for those who want to be told over HTTP."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from jobledger.v1 import webhook_service_pb2 as rpc
from jobledger.v1.webhook_pb2 import Webhook, WebhookDelivery
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from jobledger_client import _requests as requests
from jobledger_client import _values as values
from jobledger_client._errors import WebhookNotFoundError
from jobledger_client._sync._caller import Caller
from jobledger_client._sync._pages import Pages

if TYPE_CHECKING:
    from jobledger_client._sync._backend import Channel


class WebhookCalls:
    """What callers ask of webhooks. Event types may be given as "job.completed" or JOB_COMPLETED."""

    def __init__(self, channel: "Channel", caller: Caller) -> None:
        self._webhooks = WebhookServiceStub(channel)
        self._caller = caller

    def create_webhook(
        self,
        url: str,
        *,
        event_types: Iterable[values.WebhookEventTypeLike] = (),
        progress_percents: Iterable[int] = (),
        kinds: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        description: str = "",
        disabled: bool = False,
        request_id: str = "",
        timeout: float | None = None,
    ) -> rpc.CreateWebhookResponse:
        """Create a webhook; the response has its `secret`, which is shown this once.

        `event_types` are all but job.progress when empty; `progress_percents` (1 to 99) are 25, 50 and 75. Without a
        `request_id` one is made, so that a repeated attempt creates no second webhook.

        Raises InvalidFieldError, RequestIdReusedError, TooManyWebhooksError.
        """
        request = rpc.CreateWebhookRequest(
            request_id=request_id or str(uuid4()),
            url=url,
            event_types=[values.webhook_event_type(one) for one in event_types],
            progress_percents=progress_percents,
            kinds=kinds,
            labels=labels or {},
            description=description,
            disabled=disabled,
        )
        return self._caller.call(self._webhooks.CreateWebhook, request, timeout=timeout)

    def get_webhook(self, webhook_id: str, *, timeout: float | None = None) -> Webhook:
        """Return the webhook, without its secrets. Raises InvalidFieldError, WebhookNotFoundError."""
        request = rpc.GetWebhookRequest(webhook_id=webhook_id)
        return (self._caller.call(self._webhooks.GetWebhook, request, timeout=timeout)).webhook

    def list_webhooks(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Pages[rpc.ListWebhooksResponse, Webhook]:
        """List the caller's webhooks, oldest first. `page_size` is 1 to 100, 100 when 0."""

        def fetch(token: str) -> rpc.ListWebhooksResponse:
            request = rpc.ListWebhooksRequest(page_size=page_size, page_token=token)
            return self._caller.call(self._webhooks.ListWebhooks, request, timeout=timeout)

        return Pages(fetch, lambda page: page.webhooks, page_token)

    def update_webhook(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        event_types: Iterable[values.WebhookEventTypeLike] | None = None,
        progress_percents: Iterable[int] | None = None,
        kinds: Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        disabled: bool | None = None,
        timeout: float | None = None,
    ) -> Webhook:
        """Change what is given and leave what is None; return the webhook. `disabled=False` resumes a paused one.

        Raises InvalidFieldError (also when nothing is given), WebhookNotFoundError.
        """
        request = requests.update_webhook_request(
            webhook_id,
            url=url,
            event_types=event_types,
            progress_percents=progress_percents,
            kinds=kinds,
            labels=labels,
            description=description,
            disabled=disabled,
        )
        return (self._caller.call(self._webhooks.UpdateWebhook, request, timeout=timeout)).webhook

    def delete_webhook(self, webhook_id: str, *, timeout: float | None = None) -> None:
        """Remove a webhook and its deliveries. Raises InvalidFieldError, WebhookNotFoundError."""
        request = rpc.DeleteWebhookRequest(webhook_id=webhook_id)
        try:
            self._caller.call(self._webhooks.DeleteWebhook, request, timeout=timeout)
        except WebhookNotFoundError as error:
            if error.attempts == 1:  # else an earlier attempt deleted it, and its answer was lost
                raise

    def rotate_webhook_secret(
        self, webhook_id: str, *, overlap: values.DurationLike | None = None, timeout: float | None = None
    ) -> rpc.RotateWebhookSecretResponse:
        """Make a new secret, shown this once; the others sign beside it for `overlap` (24 h when None).

        Raises InvalidFieldError, WebhookNotFoundError.
        """
        request = rpc.RotateWebhookSecretRequest(webhook_id=webhook_id, overlap=values.duration(overlap))
        return self._caller.call(self._webhooks.RotateWebhookSecret, request, timeout=timeout)

    def list_webhook_deliveries(
        self,
        webhook_id: str,
        *,
        states: Iterable[values.WebhookDeliveryStateLike] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pages[rpc.ListWebhookDeliveriesResponse, WebhookDelivery]:
        """List a webhook's deliveries with their attempts, newest first. `page_size` is 1 to 500, 50 when 0."""
        wanted = [values.webhook_delivery_state(state) for state in states]

        def fetch(token: str) -> rpc.ListWebhookDeliveriesResponse:
            request = rpc.ListWebhookDeliveriesRequest(
                webhook_id=webhook_id, states=wanted, page_size=page_size, page_token=token
            )
            return self._caller.call(self._webhooks.ListWebhookDeliveries, request, timeout=timeout)

        return Pages(fetch, lambda page: page.deliveries, page_token)

    def redeliver_webhook(
        self,
        webhook_id: str,
        *,
        delivery_id: str = "",
        since_position: int | None = None,
        states: Iterable[values.WebhookDeliveryStateLike] = (),
        timeout: float | None = None,
    ) -> int:
        """Deliver one delivery again, or all since a position that are in these states; return how many go.

        `states` are DELIVERED and DEAD when empty. Raises InvalidFieldError, WebhookNotFoundError,
        DeliveryNotFoundError.
        """
        request = rpc.RedeliverWebhookRequest(
            webhook_id=webhook_id,
            delivery_id=delivery_id,
            since_position=since_position,
            states=[values.webhook_delivery_state(state) for state in states],
        )
        return (self._caller.call(self._webhooks.RedeliverWebhook, request, timeout=timeout)).redelivered

    def ping_webhook(self, webhook_id: str, *, timeout: float | None = 30.0) -> rpc.PingWebhookResponse:
        """Post a test event and return what happened; the receiver may take as long as the operator allows.

        Raises InvalidFieldError, WebhookNotFoundError.
        """
        request = rpc.PingWebhookRequest(webhook_id=webhook_id)
        return self._caller.call(self._webhooks.PingWebhook, request, timeout=timeout)
