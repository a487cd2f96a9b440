"""The part of the composition that is about webhooks: what records deliveries, what makes them, who asks for them."""

import base64
import random
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.duty import OnRun, perform
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import Due, ReadStore
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.store.engines import Database
from jobledger_service.settings import Settings

from .api import WebhookService
from .bodies import WebhookCodec
from .commands import Webhooks
from .deliveries import schedule
from .delivery_store import SqlDeliveryStore
from .dispatcher import DeliveryRules, WebhookDelivery
from .fanout import WebhookFanout
from .http_post import HttpPost
from .name_lookups import LOOKUPS_PER_ATTEMPT, NameLookups
from .requests import UrlPolicy
from .retention_duty import WebhookRetention
from .sealing import SecretCipher, cipher_of
from .sealing_duty import WebhookSealing
from .store import SqlWebhookStore

LEASE_MARGIN_SECONDS = 1.0
"""Seconds beyond twice the time of an attempt after which it counts as lost: its outcome waits for the writer, too."""


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class WebhookApp:
    """Webhooks in one server process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reads: ReadStore,
        queries: Queries,
        committer: Committer,
        clock: Clock,
        new_id: Callable[[], str],
        attempted: Callable[[str], None],
        unreadable: UnreadableRows,
    ) -> None:
        self._settings = settings
        cipher = cipher_of(settings)
        store, delivery_store, codec = SqlWebhookStore(database), SqlDeliveryStore(database), WebhookCodec()
        if database.single_writer:
            delivery_store.release_all()
        # Whoever pings receivers that do not answer keeps nobody's deliveries waiting for a connection.
        self._post, self._pings = _http_post(settings, cipher, clock), _http_post(settings, cipher, clock)
        self._delivery = WebhookDelivery(
            delivery_store, queries, committer, self._post, clock, random.random, rules_of(settings), attempted
        )
        self._fanout = WebhookFanout(
            reads, store, codec, queries, committer, clock, self._delivery.wake_event.set, unreadable
        )
        self._retention = WebhookRetention(delivery_store, committer, clock, round(settings.webhook_retention * SECOND))
        self._sealing = WebhookSealing(store, queries, committer, cipher, clock)
        webhooks = Webhooks(
            store,
            delivery_store,
            queries,
            committer,
            codec,
            self._pings,
            clock,
            new_id,
            _new_secret,
            cipher,
            self._wake_all,
        )
        self.service = WebhookService(webhooks, clock, UrlPolicy(settings.webhook_allow_http))

    def on_commit(self) -> None:
        """React to a commit of this process."""
        self._fanout.on_commit()

    def _wake_all(self) -> None:
        self._fanout.wake_event.set()
        self._delivery.wake_event.set()

    @property
    def wakes(self) -> dict[Due, Callable[[], None]]:
        """Whom to wake when something is due."""
        return {Due.WEBHOOK_EVENTS: self._fanout.wake_event.set, Due.WEBHOOKS: self._delivery.wake_event.set}

    def duties(self, on_run: OnRun) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what is to run as long as the server does, by name; `on_run` hears of each time."""
        settings, fanout = self._settings, self._fanout
        return {
            "webhook events": perform("webhook events", fanout.once, None, fanout.wake_event, on_run),
            "webhooks": self._delivery.run(on_run),
            "webhook sealing": perform("webhook sealing", self._sealing.once, None, on_run=on_run),
            "webhook retention": perform(
                "webhook retention", self._retention.once, settings.retention_interval, on_run=on_run
            ),
        }

    async def close(self) -> None:
        """Close the connections to receivers."""
        await self._post.close()
        await self._pings.close()


def _http_post(settings: Settings, cipher: SecretCipher, clock: Clock) -> HttpPost:
    return HttpPost(
        clock,
        cipher.open,
        NameLookups(LOOKUPS_PER_ATTEMPT * settings.webhook_concurrency),
        timeout=settings.webhook_timeout,
        connections=settings.webhook_concurrency,
        allow_http=settings.webhook_allow_http,
        allow_private=settings.webhook_allow_private_networks,
    )


def rules_of(settings: Settings) -> DeliveryRules:
    """Return how deliveries are made."""
    return DeliveryRules(
        schedule=schedule(
            round(settings.webhook_initial_backoff * SECOND), round(settings.webhook_retry_window * SECOND)
        ),
        max_concurrent=settings.webhook_concurrency,
        max_concurrent_per_webhook=settings.webhook_endpoint_concurrency,
        lease=round((2 * settings.webhook_timeout + LEASE_MARGIN_SECONDS) * SECOND),
        pause_after=round(settings.webhook_pause_after * SECOND),
    )
