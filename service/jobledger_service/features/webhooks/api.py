"""WebhookService: read the request, query or change, map, return."""

import base64
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from jobledger.v1 import webhook_pb2
from jobledger.v1 import webhook_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.api import audit
from jobledger_service.core.api.job_requests import fingerprint
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import DeliveryNotFound, RequestIdReused, WebhookNotFound
from jobledger_service.core.model.states import DeliveryState
from jobledger_service.core.read.paging import fitting
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .deliveries import parse_delivery_id
from .delivery_store import SqlDeliveryStore
from .fanout import ping
from .rules import MAX_WEBHOOKS, Secret, Webhook, rotate, update, webhook_key
from .sealing import SecretCipher, UnreadableSecretError
from .store import SqlWebhookStore

if TYPE_CHECKING:
    from .http_post import HttpPost

log = structlog.get_logger(__name__)

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
DELIVERIES_PER_STEP: Final = 1_000
"""The number of deliveries that one transaction deletes or redelivers."""


class WebhookService(MsgStruct, frozen=True):
    """The calls of WebhookService; `wake` is called when deliveries may be due."""

    kernel: Kernel
    store: SqlWebhookStore
    delivery_store: SqlDeliveryStore
    cipher: SecretCipher
    post: Callable[[], "HttpPost"]
    wake: Callable[[], None]

    async def CreateWebhook(self, request: api.CreateWebhookRequest, caller: Caller) -> api.CreateWebhookResponse:
        fields = read.create_webhook(request, allow_http=self.kernel.settings.webhook_allow_http)
        now = self.kernel.clock()
        empty = Webhook(
            owner=caller.owner,
            webhook_id=self.kernel.new_id(),
            url=fields["url"],
            secrets=(Secret(self.cipher.seal(self._new_secret()), now),),
            create_time=now,
            update_time=now,
            state_time=now,
            request_id=request.request_id,
            fingerprint=fingerprint(request, excluded=["request_id", "reason"]),
        )
        made = update(empty, fields, now)
        webhook = await self.kernel.committer.run_on_writer(partial(self.store.create, made, MAX_WEBHOOKS))
        if webhook.fingerprint != made.fingerprint:
            raise RequestIdReused(made.request_id, webhook.webhook_id, "webhook")
        self.wake()
        created = webhook.webhook_id == made.webhook_id
        if created:
            audit.record("webhook created", request, caller, caller.owner, webhook_id=webhook.webhook_id)
        return api.CreateWebhookResponse(
            webhook=read.webhook_message(webhook, now), secret=self._shown_secret(webhook, now), created=created
        )

    def _new_secret(self) -> str:
        return "whsec_" + base64.b64encode(self.kernel.random_bytes(32)).decode()

    def _shown_secret(self, webhook: Webhook, now: Micros) -> str:
        """Return the secret of a webhook if it may be shown."""
        kept = webhook.shown_secret(now)
        try:
            return self.cipher.open(kept) if kept else ""
        except UnreadableSecretError as error:
            log.warning("the secret of a webhook is not shown", webhook_id=webhook.webhook_id, why=str(error))
            return ""

    async def GetWebhook(self, request: api.GetWebhookRequest, caller: Caller) -> api.GetWebhookResponse:
        webhook = await self._find(caller.owner, read.webhook_id(request))
        return api.GetWebhookResponse(webhook=read.webhook_message(webhook, self.kernel.clock()))

    async def _find(self, owner: str, webhook_id: str) -> Webhook:
        webhook = await self.kernel.readers.for_owner(owner, self.store.find, webhook_key(owner, webhook_id))
        if webhook is None:
            raise WebhookNotFound(webhook_id)
        return webhook

    async def ListWebhooks(self, request: api.ListWebhooksRequest, caller: Caller) -> api.ListWebhooksResponse:
        """Return a page of an owner's webhooks, by id and so oldest first."""
        owner, now = caller.owner, self.kernel.clock()

        def page(after: tuple[str, ...] | None, limit: int) -> tuple[list[webhook_pb2.Webhook], tuple[str, ...] | None]:
            stored = self.store.of_owner(owner, after[0] if after else "", limit + 1)
            shown = [read.webhook_message(webhook, now) for webhook in stored[:limit]]
            count = fitting(message.ByteSize() for message in shown)
            return shown[:count], (stored[count - 1].webhook_id,) if stored[count:] else None

        listed = ("webhooks", owner)
        webhooks, token = await self.kernel.read_page(owner, request, listed, tuple[str], page, max_size=100)
        return api.ListWebhooksResponse(webhooks=webhooks, next_page_token=token)

    async def UpdateWebhook(self, request: api.UpdateWebhookRequest, caller: Caller) -> api.UpdateWebhookResponse:
        new, now = read.update_webhook(request, allow_http=self.kernel.settings.webhook_allow_http), self.kernel.clock()
        changed = await self._change(caller.owner, request.webhook_id, lambda webhook: update(webhook, new, now), now)
        audit.record("webhook updated", request, caller, caller.owner, webhook_id=changed.webhook_id)
        return api.UpdateWebhookResponse(webhook=read.webhook_message(changed, now))

    async def RotateWebhookSecret(
        self, request: api.RotateWebhookSecretRequest, caller: Caller
    ) -> api.RotateWebhookSecretResponse:
        webhook_id, grace_period = read.webhook_id(request), read.grace_period(request)
        now, secret = self.kernel.clock(), self._new_secret()
        kept = self.cipher.seal(secret)
        changed = await self._change(
            caller.owner, webhook_id, lambda webhook: rotate(webhook, kept, grace_period, now), now
        )
        audit.record("webhook secret rotated", request, caller, caller.owner, webhook_id=webhook_id)
        return api.RotateWebhookSecretResponse(webhook=read.webhook_message(changed, now), secret=secret)

    async def _change(self, owner: str, webhook_id: str, decide: Callable[[Webhook], Webhook], now: Micros) -> Webhook:
        change = partial(self.store.change, webhook_key(owner, webhook_id), decide, now)
        webhook = await self.kernel.committer.run_on_writer(change)
        if webhook is None:
            raise WebhookNotFound(webhook_id)
        self.wake()
        return webhook

    async def DeleteWebhook(self, request: api.DeleteWebhookRequest, caller: Caller) -> api.DeleteWebhookResponse:
        """Delete a webhook and its deliveries, in steps, so that no caller waits long."""
        webhook_id = read.webhook_id(request)
        step = partial(self.store.delete, webhook_key(caller.owner, webhook_id), DELIVERIES_PER_STEP)
        gone: bool | None = False
        while not gone:
            gone = await self.kernel.committer.run_on_writer(step, DELIVERIES_PER_STEP)
            if gone is None:
                raise WebhookNotFound(webhook_id)
        audit.record("webhook deleted", request, caller, caller.owner, webhook_id=webhook_id)
        return api.DeleteWebhookResponse()

    async def ListWebhookDeliveries(
        self, request: api.ListWebhookDeliveriesRequest, caller: Caller
    ) -> api.ListWebhookDeliveriesResponse:
        webhook_id, states = read.webhook_id(request), read.listed_states(request)
        key = (await self._find(caller.owner, webhook_id)).key
        page, listed = partial(self.delivery_store.deliveries, key, states), ("deliveries", key, states)
        deliveries, token = await self.kernel.read_page(
            caller.owner, request, listed, tuple[int, int], page, max_size=500
        )
        return api.ListWebhookDeliveriesResponse(
            deliveries=map(read.delivery_message, deliveries), next_page_token=token
        )

    async def RedeliverWebhook(
        self, request: api.RedeliverWebhookRequest, caller: Caller
    ) -> api.RedeliverWebhookResponse:
        states = read.redelivered_states(request)
        webhook = await self._find(caller.owner, request.webhook_id)
        if request.delivery_id:
            await self._redeliver_one(webhook, request.delivery_id)
            count = 1
        else:
            count = await self._redeliver(webhook, request.since_position, states)
        audit.record(
            "webhook redelivered", request, caller, caller.owner, webhook_id=webhook.webhook_id, deliveries=count
        )
        return api.RedeliverWebhookResponse(redelivered_count=count)

    async def _redeliver_one(self, webhook: Webhook, delivery: str) -> None:
        place = parse_delivery_id(delivery, webhook.webhook_id)
        again = partial(self.delivery_store.redeliver_one, webhook.key, place or (0, 0), self.kernel.clock())
        if place is None or not await self.kernel.committer.run_on_writer(again):
            raise DeliveryNotFound(webhook.webhook_id, delivery)
        self.wake()

    async def _redeliver(self, webhook: Webhook, since: int, states: frozenset[DeliveryState]) -> int:
        """Redeliver all deliveries since a position, in steps; return how many."""
        count, now = 0, self.kernel.clock()
        place: tuple[int, int] | None = (since, -1)
        while place is not None:
            step = partial(self.delivery_store.redeliver, webhook.key, states, place, DELIVERIES_PER_STEP, now)
            changed, place = await self.kernel.committer.run_on_writer(step, DELIVERIES_PER_STEP)
            count += changed
            self.wake()
        return count

    async def PingWebhook(self, request: api.PingWebhookRequest, caller: Caller) -> api.PingWebhookResponse:
        """Post a test event once, and return what happened."""
        webhook, now = await self._find(caller.owner, read.webhook_id(request)), self.kernel.clock()
        message_id = f"{webhook.webhook_id}_ping_{self.kernel.new_id()}"
        attempt = await self.post()(webhook.url, webhook.signing(now), message_id, ping(webhook, now))
        return api.PingWebhookResponse(delivered=attempt.succeeded, attempt=read.attempt_message(attempt))
