"""Recording deliveries takes transactions of a bounded size, however many webhooks an owner has."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.write.commands import CreateJob
from jobledger_service.core.write.committer import Committer
from jobledger_service.features.webhooks.fanout import MAX_BODY_BYTES, MAX_DELIVERIES, WebhookFanout
from jobledger_service.features.webhooks.rules import MAX_WEBHOOKS, Secret, Webhook, WebhookEventType
from jobledger_service.features.webhooks.store import SqlWebhookStore
from jobledger_service.features.webhooks.tables import deliveries
from sqlalchemy import func, select

from tests.isolation.large_jobs import ALICE, BOB, LargeLedger, large_ledger
from tests.support.databases import new_database
from tests.support.ledger import PATIENT


@pytest.fixture
def ledger(store: str, tmp_path: Path) -> Iterator[LargeLedger]:
    with large_ledger(new_database(store, tmp_path)) as opened:
        yield opened


def add_webhook(store: SqlWebhookStore, owner: str, number: int) -> None:
    secrets, types = (Secret("whsec_c2VjcmV0", 1),), (WebhookEventType.JOB_CREATED,)
    webhook = Webhook(owner, f"w{number}", "https://example.org/", secrets, 1, 1, event_types=types)
    store.create(webhook, MAX_WEBHOOKS)


async def recorded(ledger: LargeLedger) -> list[tuple[int, int]]:
    """Record all deliveries; return the rows and the bytes of each transaction."""
    committer = Committer(ledger.executor, lambda _: None, bounds=PATIENT)
    running = asyncio.create_task(committer.run())
    columns, steps = (func.count(), func.coalesce(func.sum(func.length(deliveries.c.body)), 0)), [(0, 0)]
    with closing(Readers()) as readers:
        kernel: Any = SimpleNamespace(
            store=ledger.reads,
            readers=readers,
            committer=committer,
            clock=lambda: ledger.now,
            unreadable=UnreadableRows(),
        )
        fanout = WebhookFanout(kernel, SqlWebhookStore(ledger.database), lambda: None)
        more = True
        while more:
            more = await fanout.once()
            with ledger.database.read() as connection:
                rows, size = connection.execute(select(*columns)).one()
            steps.append((int(rows), int(size)))
    committer.close()
    await running
    return [(rows - old, size - of_old) for (old, of_old), (rows, size) in pairwise(steps)]


@pytest.mark.guarantee("3b.2")
async def test_deliveries_are_recorded_in_transactions_of_bounded_rows(ledger: LargeLedger):
    store = SqlWebhookStore(ledger.database)
    for number in range(MAX_WEBHOOKS):
        add_webhook(store, ALICE, number)
    add_webhook(store, BOB, 0)
    for number in range(32):
        ledger.create(f"job-{number}", [1])
    ledger.create("bystanders", [1], BOB)
    steps = await recorded(ledger)
    assert sum(rows for rows, _ in steps) == 32 * MAX_WEBHOOKS + 1
    assert max(rows for rows, _ in steps) == MAX_DELIVERIES


@pytest.mark.guarantee("3b.2")
async def test_deliveries_are_recorded_in_transactions_of_bounded_bytes(ledger: LargeLedger):
    store = SqlWebhookStore(ledger.database)
    for number in range(40):
        add_webhook(store, ALICE, number)
    labels = {f"label-{number:02}": "x" * 255 for number in range(64)}
    for number in range(20):
        new = NewJob(JobSpec(ALICE, f"job-{number}", "k", b"same"), [1], labels=labels)
        ledger.do(CreateJob(new, "caller"))
    steps = await recorded(ledger)
    assert sum(rows for rows, _ in steps) == 20 * 40
    of_event = max(size // rows for rows, size in steps if rows) * 40
    assert max(size for _, size in steps) < MAX_BODY_BYTES + of_event
