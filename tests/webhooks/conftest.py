"""A server that may deliver to this machine, a receiver, and the calls that most tests begin with."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from jobledger.v1 import webhook_pb2 as hooks
from jobledger.v1 import webhook_service_pb2 as rpc
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.conftest import QUICK
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.receiver import Received, Receiver
from tests.support.server import Server

TYPES = hooks.WebhookEventType
ALL_TYPES = [number for number in TYPES.values() if number]
CREATED = [TYPES.WEBHOOK_EVENT_TYPE_JOB_CREATED]
PENDING = hooks.WEBHOOK_DELIVERY_STATE_PENDING
DELIVERED = hooks.WEBHOOK_DELIVERY_STATE_DELIVERED
DEAD = hooks.WEBHOOK_DELIVERY_STATE_DEAD

LOCAL = {
    "webhook_allow_http": "true",
    "webhook_allow_private_networks": "true",
    "INITIAL_BACKOFF_SECONDS": "0.01",
    "webhook_timeout": "30",
    "DUE_SCAN_SECONDS": "0.02",
}


class Hooks:
    """WebhookService of one server, and what a test asks of it again and again."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.calls = WebhookServiceStub(api.channel)
        self.created: set[str] = set()

    async def create(self, receiver: Receiver, kind: str, **fields: Any) -> rpc.CreateWebhookResponse:
        """Create a webhook for the jobs of one kind, told of all events."""
        fields.setdefault("event_types", ALL_TYPES)
        return await self.create_at(receiver.url, kinds=[kind], **fields)

    async def create_at(self, url: str, **fields: Any) -> rpc.CreateWebhookResponse:
        """Create a webhook with exactly these fields."""
        created = await self.calls.CreateWebhook(rpc.CreateWebhookRequest(url=url, **fields))
        self.created.add(created.webhook.webhook_id)
        return created

    async def delete(self, webhook_id: str) -> None:
        await self.calls.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id=webhook_id))
        self.created.discard(webhook_id)

    async def get(self, webhook_id: str) -> hooks.Webhook:
        return (await self.calls.GetWebhook(rpc.GetWebhookRequest(webhook_id=webhook_id))).webhook

    async def update(self, webhook_id: str, *paths: str, **fields: Any) -> hooks.Webhook:
        request = rpc.UpdateWebhookRequest(webhook_id=webhook_id, update_mask={"paths": paths}, **fields)
        return (await self.calls.UpdateWebhook(request)).webhook

    async def resume(self, webhook_id: str) -> hooks.Webhook:
        return await self.update(webhook_id, "state", state=hooks.WEBHOOK_STATE_ACTIVE)

    async def deliveries(self, webhook_id: str, *states: int) -> list[hooks.WebhookDelivery]:
        """Return deliveries, newest first."""
        request = rpc.ListWebhookDeliveriesRequest(webhook_id=webhook_id, states=states, page_size=500)
        return list((await self.calls.ListWebhookDeliveries(request)).deliveries)

    async def redeliver(self, webhook_id: str, **which: Any) -> int:
        request = rpc.RedeliverWebhookRequest(webhook_id=webhook_id, **which)
        return (await self.calls.RedeliverWebhook(request)).redelivered_count

    async def ping(self, webhook_id: str) -> rpc.PingWebhookResponse:
        return await self.calls.PingWebhook(rpc.PingWebhookRequest(webhook_id=webhook_id))

    async def settled(self, webhook_id: str, *states: int, count: int = 1) -> list[hooks.WebhookDelivery]:
        """Ask until so many deliveries are in these states: an attempt is noted after its answer."""
        while True:
            found = await self.deliveries(webhook_id, *states)
            if len(found) >= count:
                return found

    async def in_state(self, webhook_id: str, state: int) -> hooks.Webhook:
        """Ask until the webhook is in a state."""
        while (webhook := await self.get(webhook_id)).state != state:
            pass
        return webhook


At = Callable[[Server], Hooks]


@pytest.fixture(scope="package")
def hook_server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the server that the tests of this folder share; each keeps to its own kinds."""
    directory = tmp_path_factory.mktemp("webhooks")
    shared = Server(new_database(store, directory), directory, QUICK | LOCAL).start()
    yield shared
    assert shared.stop() == 0
    assert shared.defects() == [], "the server logged what should never happen"


@pytest.fixture
def at(connect: Callable[[Server], Api]) -> At:
    """Return a function that opens a channel to a server."""
    return lambda server: Hooks(connect(server))


@pytest.fixture
async def hook(at: At, hook_server: Server) -> AsyncIterator[Hooks]:
    """Return the webhooks of the shared server, which the test leaves without those that it made."""
    shared = at(hook_server)
    yield shared
    for webhook_id in list(shared.created):
        await shared.delete(webhook_id)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return a receiver."""
    with Receiver() as one:
        yield one


def types_of(received: list[Received]) -> list[str]:
    return [one.type for one in received]
