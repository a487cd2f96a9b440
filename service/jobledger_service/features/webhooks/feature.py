"""Webhooks: what records deliveries, what makes them, and WebhookService."""

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.model.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, WebhookService
from .delivery_store import DELIVERIES_DUE, SqlDeliveryStore
from .dispatcher import WebhookDispatcher
from .fanout import WebhookFanout
from .lazy_post import LazyPost
from .metrics import count_attempts
from .sealing import cipher_of
from .sealing_duty import WebhookSealing
from .store import EVENTS_DUE, SqlWebhookStore


def webhooks(kernel: Kernel) -> Feature:
    """Return what webhooks add to a server."""
    cipher, attempts = cipher_of(kernel.settings), count_attempts()
    store, delivery_store = SqlWebhookStore(kernel.database), SqlDeliveryStore(kernel.database)
    if kernel.database.single_writer:
        delivery_store.release_all()
    # Pings have their own connections, so that silent receivers of pings delay no delivery.
    post, pings = LazyPost(kernel, cipher), LazyPost(kernel, cipher)
    dispatcher = WebhookDispatcher(kernel, delivery_store, post, lambda outcome: attempts.labels(outcome).inc())
    fanout = WebhookFanout(kernel, store, dispatcher.wake_event.set)

    def wake_all() -> None:
        fanout.wake_event.set()
        dispatcher.wake_event.set()

    def trim(before: int, limit: int) -> int:
        return delivery_store.trim_deliveries(before, limit, kernel.clock())

    async def close() -> None:
        await post.close()
        await pings.close()

    return Feature(
        calls=[Calls(METHODS, WebhookService(kernel, store, delivery_store, cipher, pings, wake_all))],
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
