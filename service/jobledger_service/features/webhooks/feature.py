"""The part of the composition that is about webhooks: what records deliveries, what makes them, who asks for them."""

import base64
import random
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.duty import Ran, perform
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import Due, ReadStore
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.store.engines import Database
from jobledger_service.settings import Settings

from .api import WebhookService
from .bodies import JsonWebhookCodec
from .commands import Webhooks
from .deliveries import schedule
from .delivery_store import SqlDeliveryStore
from .dispatcher import DeliveryRules, WebhookDelivery
from .fanout import WebhookFill
from .http_post import HttpPost
from .name_lookups import PER_ATTEMPT, NameLookups
from .ports import SecretCipher
from .requests import Given
from .retention_duty import WebhookRetention
from .sealing import cipher_of
from .sealing_duty import WebhookSealing
from .store import SqlWebhookStore

MARGIN = 1.0
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
        store, kept, codec = SqlWebhookStore(database), SqlDeliveryStore(database), JsonWebhookCodec()
        if database.single_writer:
            kept.release_all()
        # Whoever pings receivers that do not answer keeps nobody's deliveries waiting for a connection.
        self._post, self._pings = _http_post(settings, cipher, clock), _http_post(settings, cipher, clock)
        self._delivery = WebhookDelivery(
            kept, queries, committer, self._post, clock, random.random, rules_of(settings), attempted
        )
        self._fill = WebhookFill(reads, store, codec, queries, committer, clock, self._delivery.news.set, unreadable)
        self._retention = WebhookRetention(kept, committer, clock, round(settings.webhook_retention * SECOND))
        self._sealing = WebhookSealing(store, queries, committer, cipher, clock)
        webhooks = Webhooks(
            store, kept, queries, committer, codec, self._pings, clock, new_id, _new_secret, cipher, self._changed
        )
        self.service = WebhookService(webhooks, clock, Given(settings.webhook_allow_http))

    def heard(self) -> None:
        """Hear of a commit of this process."""
        self._fill.heard()

    def _changed(self) -> None:
        self._fill.news.set()
        self._delivery.news.set()

    @property
    def wakes(self) -> dict[Due, Callable[[], None]]:
        """Whom to wake when something is due."""
        return {Due.WEBHOOK_EVENTS: self._fill.news.set, Due.WEBHOOKS: self._delivery.news.set}

    def duties(self, ran: Ran) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what is to run as long as the server does, by name; `ran` hears of each time."""
        settings, fill = self._settings, self._fill
        return {
            "webhook events": perform("webhook events", fill.once, None, fill.news, ran),
            "webhooks": self._delivery.run(ran),
            "webhook sealing": perform("webhook sealing", self._sealing.once, None, ran=ran),
            "webhook retention": perform(
                "webhook retention", self._retention.once, settings.retention_interval, ran=ran
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
        NameLookups(PER_ATTEMPT * settings.webhook_concurrency),
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
        at_once=settings.webhook_concurrency,
        at_once_of_one=settings.webhook_endpoint_concurrency,
        lease=round((2 * settings.webhook_timeout + MARGIN) * SECOND),
        pause_after=round(settings.webhook_pause_after * SECOND),
    )
