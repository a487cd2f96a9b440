"""Webhooks: what records deliveries, what makes them, and WebhookService."""

import base64

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.model.limits import SECOND
from jobledger_service.settings import Settings
from jobledger_service.transport.methods import Calls

from .api import METHODS, WebhookService
from .bodies import WebhookCodec
from .commands import Webhooks
from .deliveries import schedule
from .delivery_store import SqlDeliveryStore
from .dispatcher import DeliveryRules, WebhookDelivery
from .due import DELIVERIES_DUE, EVENTS_DUE
from .fanout import WebhookFanout
from .http_post import HttpPost
from .metrics import count_attempts
from .name_lookups import LOOKUPS_PER_ATTEMPT, NameLookups
from .requests import UrlPolicy
from .retention_duty import WebhookRetention
from .sealing import SecretCipher, cipher_of
from .sealing_duty import WebhookSealing
from .store import SqlWebhookStore

LEASE_MARGIN_SECONDS = 1.0
"""Seconds beyond twice the time of an attempt after which it counts as lost: its outcome waits for the writer, too."""


def webhooks(kernel: Kernel) -> Feature:
    """Return what webhooks add to a server."""
    settings, clock, committer, queries = kernel.settings, kernel.clock, kernel.committer, kernel.queries
    cipher, codec = cipher_of(settings), WebhookCodec()
    store, delivery_store = SqlWebhookStore(kernel.database), SqlDeliveryStore(kernel.database)
    if kernel.database.single_writer:
        delivery_store.release_all()
    # Pings have their own connections, so that silent receivers of pings delay no delivery.
    post, pings = _http_post(settings, cipher, clock), _http_post(settings, cipher, clock)
    attempts = count_attempts()
    dispatcher = WebhookDelivery(
        delivery_store,
        queries,
        committer,
        post,
        clock,
        kernel.sample_jitter,
        rules_of(settings),
        lambda outcome: attempts.labels(outcome).inc(),
    )
    fanout = WebhookFanout(
        kernel.store, store, codec, queries, committer, clock, dispatcher.wake_event.set, kernel.unreadable
    )
    retention = WebhookRetention(delivery_store, committer, clock, round(settings.webhook_retention * SECOND))
    sealing = WebhookSealing(store, queries, committer, cipher, clock)

    def new_secret() -> str:
        return "whsec_" + base64.b64encode(kernel.random_bytes(32)).decode()

    def wake_all() -> None:
        fanout.wake_event.set()
        dispatcher.wake_event.set()

    async def close() -> None:
        await post.close()
        await pings.close()

    commands = Webhooks(
        store, delivery_store, queries, committer, codec, pings, clock, kernel.new_id, new_secret, cipher, wake_all
    )
    service = WebhookService(commands, clock, UrlPolicy(settings.webhook_allow_http))
    return Feature(
        calls=[Calls(METHODS, service)],
        duties=[
            Duty("webhook events", fanout.once, wake_event=fanout.wake_event, due=EVENTS_DUE),
            Duty(
                "webhooks", dispatcher.once, wake_event=dispatcher.wake_event, due=DELIVERIES_DUE, stop=dispatcher.abort
            ),
            Duty("webhook sealing", sealing.once),
            Duty("webhook retention", retention.once, settings.retention_interval),
        ],
        on_commit=lambda _: fanout.on_commit(),
        collectors=[attempts],
        close=close,
    )


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
