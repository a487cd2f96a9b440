"""Webhooks: what records deliveries, what makes them, and WebhookService."""

from functools import partial
from typing import TYPE_CHECKING

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, WebhookService
from .delivery_store import DELIVERIES_DUE, SqlDeliveryStore
from .dispatcher import WebhookDispatcher
from .fanout import WebhookFanout
from .metrics import count_attempts
from .sealing import cipher_of
from .sealing_duty import WebhookSealing
from .store import EVENTS_DUE, SqlWebhookStore

if TYPE_CHECKING:
    from .http_post import HttpPost


def webhooks(kernel: Kernel) -> Feature:
    """Return what webhooks add to a server."""
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

    def wake_all() -> None:
        fanout.wake_event.set()
        dispatcher.wake_event.set()

    service = WebhookService(kernel, store, delivery_store, cipher, partial(post_of, "pings"), wake_all)

    def trim(before: int, limit: int) -> int:
        return delivery_store.trim_deliveries(before, limit, kernel.clock())

    async def close() -> None:
        for post in posts.values():
            await post.close()

    return Feature(
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
        collectors=[attempts],
        close=close,
    )
