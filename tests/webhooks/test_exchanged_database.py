"""Events that take positions of lost ones reach webhooks: the place that a process remembers is not passed over."""

from pathlib import Path

import pytest
from jobledger_service.core.database.tables import events
from jobledger_service.core.model.states import DeliveryState
from jobledger_service.features.webhooks import feature as webhooks
from jobledger_service.features.webhooks.delivery_store import SqlDeliveryStore
from jobledger_service.features.webhooks.store import SqlWebhookStore
from sqlalchemy import delete

from tests.isolation.kernels import opened
from tests.store.test_deliveries import made
from tests.store.test_history import Exchanged

pytestmark = pytest.mark.fast

PENDING = frozenset({DeliveryState.PENDING})


async def test_an_event_at_a_lost_position_is_delivered(tmp_path: Path):
    async with opened(f"sqlite:///{tmp_path / 'jobs.db'}") as ledger:
        kernel, database = ledger.kernel, ledger.kernel.database
        on_change = database.history.on_change
        exchanged = Exchanged(database)
        database.history.on_change = on_change
        recording = webhooks.feature.open(kernel).duties[0]
        webhook = SqlWebhookStore(database).create(made("w", owner="hooked"), 1)
        await ledger.create("other", 3)
        assert not await recording.once()  # writes that it is at 3
        await ledger.create("another", 5)
        assert not await recording.once()  # remembers that nothing up to 8 concerns a webhook
        with database.change_schema() as connection:
            connection.execute(delete(events).where(events.c.position > 3))
        exchanged.put_back(3, "2")
        await ledger.create("hooked", 1)
        while await recording.once():
            pass
        [delivery], _ = SqlDeliveryStore(database).deliveries(webhook.key, PENDING, None, 10)
        assert (delivery.position, delivery.job_key) == (4, "hooked/j0")
