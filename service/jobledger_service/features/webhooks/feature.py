"""Webhooks: what records deliveries, what makes them, and WebhookService."""

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, WebhookService
from .delivery_store import DELIVERIES_DUE, SqlDeliveryStore, count_deliveries
from .dispatcher import WebhookDispatcher
from .fanout import WebhookFanout
from .metrics import count_attempts
from .rules import Webhook
from .sealing import SecretCipher, UnreadableSecretError, cipher_of
from .store import EVENTS_DUE, SqlWebhookStore

if TYPE_CHECKING:
    from .http_post import HttpPost

log = structlog.get_logger(__name__)

WEBHOOKS_PER_STEP: Final = 100


class WebhookSealing(MsgStruct, frozen=True):
    """Walks all webhooks, in pages; each change is a transaction of its own, so that other commands get a turn."""

    kernel: Kernel
    store: SqlWebhookStore
    cipher: SecretCipher

    async def once(self) -> bool:
        """Seal the secrets of all webhooks."""
        sealed = unreadable = 0
        after = ""
        while page := await self.kernel.readers.for_server(self.store.all_after, after, WEBHOOKS_PER_STEP):
            after = page[-1].key
            for webhook in page:
                if not all(self.cipher.is_current(secret.value) for secret in webhook.secrets):
                    is_sealed = await self._seal(webhook)
                    sealed, unreadable = sealed + is_sealed, unreadable + (not is_sealed)
        if sealed or unreadable:
            log.info("secrets of webhooks are sealed", sealed=sealed, unreadable=unreadable)
        return False

    async def _seal(self, webhook: Webhook) -> bool:
        """Seal the secrets of a webhook; return whether all of them can be read."""
        try:
            change = partial(self.store.change, webhook.key, self._sealed, self.kernel.clock())
            await self.kernel.committer.run_on_writer(change)
        except UnreadableSecretError as error:
            named = {"webhook_id": webhook.webhook_id, "owner": webhook.owner}
            log.error("a secret of a webhook cannot be read", **named, why=str(error))  # noqa: TRY400  a sentence says it all
            return False
        return True

    def _sealed(self, webhook: Webhook) -> Webhook:
        secrets = (
            dataclasses.replace(secret, value=self.cipher.seal_again(secret.value)) for secret in webhook.secrets
        )
        return replace(webhook, secrets=tuple(secrets))


def _open(kernel: Kernel) -> ServerParts:
    cipher, attempts = cipher_of(kernel.settings), count_attempts()
    store, delivery_store = SqlWebhookStore(kernel.database), SqlDeliveryStore(kernel.database)
    if kernel.database.single_writer:
        delivery_store.release_all()
    posts: dict[str, HttpPost] = {}

    def post_of(use: str) -> "HttpPost":
        """Return what posts for a use, made for the first one: a server without webhooks loads no HTTP library.

        Pings have their own connections, so that silent receivers of pings delay no delivery.
        """
        if use not in posts:
            from .http_post import HttpPost  # noqa: PLC0415  see above

            posts[use] = HttpPost(kernel.settings, kernel.clock, cipher.open)
        return posts[use]

    dispatcher = WebhookDispatcher(
        kernel, delivery_store, partial(post_of, "deliveries"), lambda outcome: attempts.labels(outcome).inc()
    )
    fanout = WebhookFanout(kernel, store, dispatcher.wake_event.set)
    kernel.feed.on_loss.append(fanout.begin_anew)

    def wake_all() -> None:
        fanout.wake_event.set()
        dispatcher.wake_event.set()

    service = WebhookService(kernel, store, delivery_store, cipher, partial(post_of, "pings"), wake_all)

    def trim(before: int, limit: int) -> int:
        return delivery_store.trim_deliveries(before, limit, kernel.clock())

    async def close() -> None:
        for post in posts.values():
            await post.close()

    return ServerParts(
        calls=[Calls(METHODS, service)],
        duties=[
            Duty("webhook events", fanout.once, wake_event=fanout.wake_event, due=EVENTS_DUE),
            Duty(
                "webhooks", dispatcher.once, wake_event=dispatcher.wake_event, due=DELIVERIES_DUE, stop=dispatcher.abort
            ),
            Duty("webhook sealing", WebhookSealing(kernel, store, cipher).once),
            trimming("webhook retention", kernel, trim, round(kernel.settings.webhook_retention * SECOND)),
        ],
        on_commit=fanout.on_commit,
        count_deliveries=count_deliveries,
        collectors=[attempts],
        close=close,
    )


feature = Feature(_open)
