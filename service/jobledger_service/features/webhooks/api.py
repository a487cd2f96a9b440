"""WebhookService: read the request, query or change, map, return."""

from dataclasses import dataclass
from typing import Final

from jobledger.v1 import webhook_pb2
from jobledger.v1 import webhook_service_pb2 as api

from jobledger_service.core.api.convert import duration, timestamp
from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.model.job import job_id_of
from jobledger_service.core.model.states import WebhookState
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .commands import Webhooks
from .deliveries import Attempt, Delivery, delivery_id
from .rules import Missed, Webhook

_WEBHOOK_STATES = {state: webhook_pb2.WebhookState.Value(f"WEBHOOK_STATE_{state}") for state in WebhookState}

WEBHOOK_SERVICE: Final = api.DESCRIPTOR.services_by_name["WebhookService"]
METHODS: Final = (
    Method(WEBHOOK_SERVICE, "CreateWebhook", Role.CALLER, Kind.WRITE),
    Method(WEBHOOK_SERVICE, "GetWebhook", Role.CALLER, Kind.READ),
    Method(WEBHOOK_SERVICE, "ListWebhooks", Role.CALLER, Kind.READ),
    Method(WEBHOOK_SERVICE, "UpdateWebhook", Role.CALLER, Kind.WRITE),
    Method(WEBHOOK_SERVICE, "DeleteWebhook", Role.CALLER, Kind.WRITE),
    Method(WEBHOOK_SERVICE, "RotateWebhookSecret", Role.CALLER, Kind.WRITE),
    Method(WEBHOOK_SERVICE, "ListWebhookDeliveries", Role.CALLER, Kind.READ),
    Method(WEBHOOK_SERVICE, "RedeliverWebhook", Role.CALLER, Kind.WRITE),
    Method(WEBHOOK_SERVICE, "PingWebhook", Role.CALLER, Kind.WRITE),
)


@dataclass(frozen=True, slots=True)
class WebhookService:
    """The calls of WebhookService."""

    webhooks: Webhooks
    clock: Clock
    url_policy: read.UrlPolicy

    async def CreateWebhook(self, request: api.CreateWebhookRequest, caller: Caller) -> api.CreateWebhookResponse:
        webhook, secret, created = await self.webhooks.create(read.create_webhook(request, caller, self.url_policy))
        return api.CreateWebhookResponse(webhook=self._webhook(webhook), secret=secret, created=created)

    async def GetWebhook(self, request: api.GetWebhookRequest, caller: Caller) -> api.GetWebhookResponse:
        webhook = await self.webhooks.get(caller.owner, read.webhook_id(request))
        return api.GetWebhookResponse(webhook=self._webhook(webhook))

    async def ListWebhooks(self, request: api.ListWebhooksRequest, caller: Caller) -> api.ListWebhooksResponse:
        limit = checked_page_size(request.page_size, default=100, max_size=100)
        page, token = await self.webhooks.list(caller.owner, limit, request.page_token, self._webhook)
        return api.ListWebhooksResponse(webhooks=page, next_page_token=token)

    async def UpdateWebhook(self, request: api.UpdateWebhookRequest, caller: Caller) -> api.UpdateWebhookResponse:
        webhook = await self.webhooks.update(caller.owner, *read.update_webhook(request, self.url_policy))
        return api.UpdateWebhookResponse(webhook=self._webhook(webhook))

    async def DeleteWebhook(self, request: api.DeleteWebhookRequest, caller: Caller) -> api.DeleteWebhookResponse:
        await self.webhooks.delete(caller.owner, read.webhook_id(request))
        return api.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: api.RotateWebhookSecretRequest, caller: Caller
    ) -> api.RotateWebhookSecretResponse:
        webhook_id, overlap = read.webhook_id(request), read.overlap(request)
        webhook, secret = await self.webhooks.rotate(caller.owner, webhook_id, overlap)
        return api.RotateWebhookSecretResponse(webhook=self._webhook(webhook), secret=secret)

    async def ListWebhookDeliveries(
        self, request: api.ListWebhookDeliveriesRequest, caller: Caller
    ) -> api.ListWebhookDeliveriesResponse:
        limit = checked_page_size(request.page_size, default=50, max_size=500)
        webhook_id, states = read.webhook_id(request), read.listed_states(request)
        page, token = await self.webhooks.deliveries(caller.owner, webhook_id, states, limit, request.page_token)
        deliveries = [_delivery(one, webhook_id) for one in page]
        return api.ListWebhookDeliveriesResponse(deliveries=deliveries, next_page_token=token)

    async def RedeliverWebhook(
        self, request: api.RedeliverWebhookRequest, caller: Caller
    ) -> api.RedeliverWebhookResponse:
        what = read.redeliver_webhook(request)
        if what.delivery_id:
            count = await self.webhooks.redeliver_one(caller.owner, what.webhook_id, what.delivery_id)
        else:
            count = await self.webhooks.redeliver(caller.owner, what.webhook_id, what.since, what.states)
        return api.RedeliverWebhookResponse(redelivered=count)

    async def PingWebhook(self, request: api.PingWebhookRequest, caller: Caller) -> api.PingWebhookResponse:
        attempt = await self.webhooks.ping(caller.owner, read.webhook_id(request))
        return api.PingWebhookResponse(delivered=attempt.succeeded, attempt=_attempt(attempt))

    def _webhook(self, webhook: Webhook) -> webhook_pb2.Webhook:
        """Return a webhook; of its secrets only their times."""
        now = self.clock()
        return webhook_pb2.Webhook(
            webhook_id=webhook.webhook_id,
            owner=webhook.owner,
            url=webhook.url,
            event_types=[read.EVENT_TYPES[one] for one in webhook.event_types],
            progress_percents=webhook.percents,
            kinds=webhook.kinds,
            labels=webhook.labels,
            description=webhook.description,
            disabled=webhook.state is WebhookState.DISABLED,
            state=_WEBHOOK_STATES[webhook.state],
            state_reason=webhook.state_reason,
            state_time=timestamp(webhook.state_time),
            failing_since_time=None if webhook.failing_since is None else timestamp(webhook.failing_since),
            missed_events=_missed(webhook.missed),
            secrets=[
                webhook_pb2.WebhookSecret(
                    create_time=timestamp(secret.create_time),
                    expire_time=None if secret.expire_time is None else timestamp(secret.expire_time),
                )
                for secret in webhook.secrets
                if secret.signs(now)
            ],
            create_time=timestamp(webhook.create_time),
            update_time=timestamp(webhook.update_time),
        )


def _missed(missed: Missed | None) -> webhook_pb2.MissedEvents | None:
    if missed is None:
        return None
    return webhook_pb2.MissedEvents(first_position=missed.first, last_position=missed.last, time=timestamp(missed.time))


def _delivery(delivery: Delivery, webhook_id: str) -> webhook_pb2.WebhookDelivery:
    again, end = delivery.next_attempt_time, delivery.end_time
    return webhook_pb2.WebhookDelivery(
        delivery_id=delivery_id(webhook_id, delivery.position, delivery.ordinal),
        webhook_id=webhook_id,
        event_type=read.EVENT_TYPES[delivery.event_type],
        job_id=job_id_of(delivery.job_key),
        position=delivery.position,
        state=read.STATES[delivery.state],
        attempts=[_attempt(one) for one in delivery.attempts],
        attempt_count=delivery.attempt_count,
        create_time=timestamp(delivery.create_time),
        next_attempt_time=None if again is None else timestamp(again),
        end_time=None if end is None else timestamp(end),
    )


def _attempt(attempt: Attempt) -> webhook_pb2.WebhookAttempt:
    return webhook_pb2.WebhookAttempt(
        time=timestamp(attempt.time),
        duration=duration(attempt.duration),
        status_code=attempt.status_code,
        error=attempt.error,
    )
