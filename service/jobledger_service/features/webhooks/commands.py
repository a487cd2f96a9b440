"""Operations on webhooks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar, cast

import structlog
from google.protobuf.message import Message
from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.paging import fitting, request_mark
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.model.errors import DeliveryNotFound, RequestIdReused, WebhookNotFound
from jobledger_service.core.model.states import DeliveryState, WebhookState

from .bodies import WebhookCodec
from .deliveries import Attempt, Delivery, parse_delivery_id
from .delivery_store import SqlDeliveryStore
from .http_post import HttpPost
from .rules import MAX_WEBHOOKS, Secret, Webhook, WebhookUpdate, percents_of, rotate, update, webhook_key
from .sealing import SecretCipher, UnreadableSecretError
from .store import SqlWebhookStore

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)

DELIVERIES_PER_STEP: Final = 1_000
"""The number of deliveries that one transaction deletes or redelivers."""


class NewWebhook(MsgStruct, frozen=True):
    """The fields of a new webhook."""

    owner: str
    fields: WebhookUpdate
    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Reads and writes of webhooks; `new_secret` makes a secret, `wake` is called when deliveries may be due."""

    store: SqlWebhookStore
    delivery_store: SqlDeliveryStore
    queries: Queries
    committer: Committer
    codec: WebhookCodec
    post: HttpPost
    clock: Clock
    new_id: Callable[[], str]
    new_secret: Callable[[], str]
    cipher: SecretCipher
    wake: Callable[[], None]

    async def create(self, new: NewWebhook) -> tuple[Webhook, str, bool]:
        """Return the webhook, its secret if it may be shown, and whether it is new.

        Raises RequestIdReused, TooManyWebhooks.
        """
        now, fields = self.clock(), new.fields
        made = Webhook(
            owner=new.owner,
            webhook_id=self.new_id(),
            url=fields.url,
            secrets=(Secret(self.cipher.seal(self.new_secret()), now),),
            create_time=now,
            update_time=now,
            event_types=fields.event_types,
            percents=percents_of(fields.event_types, fields.percents),
            kinds=fields.kinds,
            labels=fields.labels,
            description=fields.description,
            state=WebhookState.DISABLED if fields.disabled else WebhookState.ACTIVE,
            state_time=now,
            request_id=new.request_id,
            fingerprint=new.fingerprint,
        )
        webhook = await self.committer.run_on_writer(partial(self.store.create, made, MAX_WEBHOOKS))
        if webhook.fingerprint != new.fingerprint:
            raise RequestIdReused(new.request_id, webhook.webhook_id, "webhook")
        self.wake()
        return webhook, self._shown(webhook, now), webhook.webhook_id == made.webhook_id

    def _shown(self, webhook: Webhook, now: int) -> str:
        kept = webhook.shown_secret(now)
        try:
            return self.cipher.open(kept) if kept else ""
        except UnreadableSecretError as error:
            log.warning("the secret of a webhook is not shown", webhook_id=webhook.webhook_id, why=str(error))
            return ""

    async def get(self, owner: str, webhook_id: str) -> Webhook:
        """Return a webhook; raises WebhookNotFound."""
        webhook = await self.queries.run_for(owner, self.store.find, webhook_key(owner, webhook_id))
        if webhook is None:
            raise WebhookNotFound(webhook_id)
        return webhook

    async def list(
        self, owner: str, limit: int, page_token: str, show: Callable[[Webhook], M]
    ) -> tuple[Sequence[M], str]:
        """Return a page of an owner's webhooks, oldest first, and the token of the next; raises PageTokenInvalid."""
        mark = request_mark("webhooks", owner)
        place = self.queries.tokens.parse(page_token, mark, str)
        after = cast("str", place[0]) if place else ""

        def read_and_show() -> tuple[Sequence[M], str]:
            found = self.store.of_owner(owner, after, limit + 1)
            shown = [show(one) for one in found[:limit]]
            count = fitting(one.ByteSize() for one in shown)
            return shown[:count], self.queries.tokens.encode(mark, found[count - 1].webhook_id) if found[count:] else ""

        return await self.queries.run_for(owner, read_and_show)

    async def update(self, owner: str, webhook_id: str, new: WebhookUpdate) -> Webhook:
        """Return the webhook with the named fields changed; raises WebhookNotFound, InvalidField."""
        now = self.clock()
        return await self._change(owner, webhook_id, lambda webhook: update(webhook, new, now), now)

    async def rotate(self, owner: str, webhook_id: str, overlap: int) -> tuple[Webhook, str]:
        """Return the webhook and its new secret; raises WebhookNotFound."""
        now, secret = self.clock(), self.new_secret()
        kept = self.cipher.seal(secret)
        return await self._change(owner, webhook_id, lambda one: rotate(one, kept, overlap, now), now), secret

    async def _change(self, owner: str, webhook_id: str, decide: Callable[[Webhook], Webhook], now: int) -> Webhook:
        key = webhook_key(owner, webhook_id)
        webhook = await self.committer.run_on_writer(partial(self.store.change, key, decide, now))
        if webhook is None:
            raise WebhookNotFound(webhook_id)
        self.wake()
        return webhook

    async def delete(self, owner: str, webhook_id: str) -> None:
        """Delete a webhook and its deliveries, in steps, so that no caller waits long; raises WebhookNotFound."""
        gone: bool | None = False
        while not gone:
            gone = await self.committer.run_on_writer(
                partial(self.store.delete, webhook_key(owner, webhook_id), DELIVERIES_PER_STEP), DELIVERIES_PER_STEP
            )
            if gone is None:
                raise WebhookNotFound(webhook_id)

    async def deliveries(
        self, owner: str, webhook_id: str, states: frozenset[DeliveryState], limit: int, page_token: str
    ) -> tuple[Sequence[Delivery], str]:
        """Return a page of deliveries, newest first, and the token of the next.

        Raises WebhookNotFound, PageTokenInvalid.
        """
        webhook = await self.get(owner, webhook_id)
        mark = request_mark("deliveries", webhook.key, states)
        place = cast("tuple[int, int] | None", self.queries.tokens.parse(page_token, mark, int, int))
        read = await self.queries.run_for(owner, self.delivery_store.deliveries, webhook.key, states, place, limit)
        return read.deliveries, self.queries.tokens.encode(mark, *read.last) if read.last else ""

    async def redeliver_one(self, owner: str, webhook_id: str, delivery: str) -> int:
        """Redeliver one delivery; return 1. Raises WebhookNotFound, DeliveryNotFound."""
        webhook = await self.get(owner, webhook_id)
        place = parse_delivery_id(delivery, webhook_id)
        again = partial(self.delivery_store.redeliver_one, webhook.key, place or (0, 0), self.clock())
        if place is None or not await self.committer.run_on_writer(again):
            raise DeliveryNotFound(webhook_id, delivery)
        self.wake()
        return 1

    async def redeliver(self, owner: str, webhook_id: str, since: int, states: frozenset[DeliveryState]) -> int:
        """Redeliver all deliveries since a position, in steps; return how many. Raises WebhookNotFound."""
        webhook, count, now = await self.get(owner, webhook_id), 0, self.clock()
        place: tuple[int, int] | None = (since, -1)
        while place is not None:
            step = partial(self.delivery_store.redeliver, webhook.key, states, place, DELIVERIES_PER_STEP, now)
            changed, place = await self.committer.run_on_writer(step, DELIVERIES_PER_STEP)
            count += changed
            self.wake()
        return count

    async def ping(self, owner: str, webhook_id: str) -> Attempt:
        """Post a test event once, and return what happened; raises WebhookNotFound."""
        webhook, now = await self.get(owner, webhook_id), self.clock()
        body = self.codec.ping(webhook, now)
        return await self.post(webhook.url, webhook.signing(now), f"{webhook_id}_ping_{self.new_id()}", body)
