"""Deliveries on both databases: what is kept, what dies of age, and what was missed."""

from collections import Counter

import pytest
from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.states import DeliveryState, WebhookState
from jobledger_service.features.webhooks.deliveries import Delivery, DeliveryAttempt, DeliveryCapacity
from jobledger_service.features.webhooks.delivery_store import EXPIRED_MESSAGE, SqlDeliveryStore
from jobledger_service.features.webhooks.rules import Missed, Secret, Webhook, WebhookEventType
from jobledger_service.features.webhooks.store import FanoutBatch, SqlWebhookStore
from msgspec.structs import replace

pytestmark = pytest.mark.fast

ALL = frozenset(DeliveryState)
ROOM = DeliveryCapacity(total=10, per_webhook=10, busy={})


def made(webhook_id: str, state: WebhookState = WebhookState.ACTIVE, owner: str = "me") -> Webhook:
    secrets = (Secret("whsec_c2VjcmV0", 1),)
    return Webhook(owner, webhook_id, "https://example.org/", secrets, 1, 1, state=state, state_time=1)


def draft(webhook: Webhook, position: int, job: str, create_time: int = 1) -> Delivery:
    event_type = WebhookEventType.JOB_CREATED
    return Delivery(webhook.key, position, 0, f"me/{job}", event_type, create_time, body=b"{}")


def claim(delivery_store: SqlDeliveryStore, now: int, *finished: Delivery, lease: int = 100) -> list[Delivery]:
    return [one for _, one in delivery_store.settle_and_claim(finished, lambda same, _: same, ROOM, now, lease)]


def test_what_is_too_old_dies_or_is_forgotten_and_the_next_of_its_job_goes(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    webhook = store.create(made("w"), 1)
    drafts = [draft(webhook, 1, "a"), draft(webhook, 2, "a", 50), draft(webhook, 3, "b"), draft(webhook, 4, "c")]
    assert store.record_batch(FanoutBatch(0, 4, None, drafts), 5)
    running, done, broken = sorted(claim(delivery_store, 5), key=lambda one: one.position)
    assert [one.position for one in (running, done, broken)] == [1, 3, 4]
    delivered = done.attempted(DeliveryAttempt(5, 1, 200, ""), None)
    failed = broken.attempted(DeliveryAttempt(5, 1, 500, "answered 500"), 1_000)
    assert claim(delivery_store, 6, delivered, failed) == []

    assert delivery_store.trim_deliveries(before=10, limit=100, now=20) == 2
    left = {one.position: one for one in delivery_store.deliveries(webhook.key, ALL, None, 10)[0]}
    assert sorted(left) == [1, 2, 4]
    assert (left[1].state, left[2].state) == (DeliveryState.PENDING, DeliveryState.PENDING)  # one is being attempted
    assert (left[4].state, left[4].end_time, left[4].next_attempt_time) == (DeliveryState.DEAD, 20, None)
    assert [one.error for one in left[4].attempts] == ["answered 500", EXPIRED_MESSAGE]

    assert delivery_store.trim_deliveries(before=10, limit=100, now=200) == 1  # its lease is over
    assert [one.position for one in claim(delivery_store, 200)] == [2]
    assert [
        one.position for one in delivery_store.deliveries(webhook.key, frozenset({DeliveryState.DEAD}), None, 10)[0]
    ] == [4, 1]


def test_an_attempt_that_comes_too_late_changes_nothing(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    webhook = store.create(made("w"), 1)
    assert store.record_batch(FanoutBatch(0, 1, None, [draft(webhook, 1, "a")]), 5)
    [first] = claim(delivery_store, 5, lease=10)
    assert claim(delivery_store, 14) == []
    [second] = claim(delivery_store, 15)
    assert (first.attempt_count, second.attempt_count) == (1, 2)
    late = first.attempted(DeliveryAttempt(5, 1, 410, "answered 410"), None)
    claim(delivery_store, 16, late)
    assert delivery_store.deliveries(webhook.key, ALL, None, 10)[0][0].state is DeliveryState.PENDING
    claim(delivery_store, 17, second.attempted(DeliveryAttempt(15, 1, 200, ""), None))
    assert delivery_store.deliveries(webhook.key, ALL, None, 10)[0][0].state is DeliveryState.DELIVERED


def test_what_was_broken_off_can_be_claimed_at_once(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    webhook = store.create(made("w"), 1)
    assert store.record_batch(FanoutBatch(0, 1, None, [draft(webhook, 1, "a")]), 5)
    delivery_store.release(claim(delivery_store, 5))
    assert [one.attempt_count for one in claim(delivery_store, 6)] == [2]


@pytest.mark.guarantee("3b.3")
def test_an_owner_of_many_webhooks_leaves_the_others_their_share(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    many = [store.create(made(name, owner="many"), 9) for name in "abc"]
    drafts = [draft(webhook, position, f"job-{position}") for webhook in many for position in range(1, 9)]
    assert store.record_batch(FanoutBatch(0, 8, None, drafts), 5)

    def claim_within(total: int, busy: Counter[str]) -> Counter[str]:
        capacity = DeliveryCapacity(total=total, per_webhook=4, busy=busy)
        claimed = delivery_store.settle_and_claim([], lambda same, _: same, capacity, 7, 1_000)
        return Counter(webhook.key for webhook, _ in claimed)

    busy = claim_within(6, Counter())
    assert busy.total() == 3  # the rest is for the first delivery of another owner, however slow these receivers are
    assert claim_within(3, busy) == Counter()

    few = store.create(made("w", owner="few"), 9)
    assert store.record_batch(
        FanoutBatch(8, 12, None, [draft(few, position, f"{position}") for position in (9, 10)]), 6
    )
    busy += claim_within(3, busy)
    assert busy[few.key] == 2
    assert claim_within(1, busy) == Counter()


def test_a_place_counts_once_and_a_disabled_webhook_records_nothing(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    active, disabled = store.create(made("a"), 2), store.create(made("b", WebhookState.DISABLED), 2)
    batch = FanoutBatch(0, 3, None, [draft(active, 2, "x"), draft(disabled, 2, "x")])
    assert store.record_batch(batch, 5)
    assert not store.record_batch(batch, 5)
    assert store.fanout_position() == 3
    assert len(delivery_store.deliveries(active.key, ALL, None, 10)[0]) == 1
    assert delivery_store.deliveries(disabled.key, ALL, None, 10)[0] == []


def test_what_was_missed_is_reported_to_those_that_recorded(database: Database):
    store = SqlWebhookStore(database)
    active, disabled = store.create(made("a"), 2), store.create(made("b", WebhookState.DISABLED), 2)
    assert store.record_batch(FanoutBatch(0, 7, 7, []), 9)
    assert store.record_batch(FanoutBatch(7, 9, 9, []), 10)
    found = [store.find(webhook.key) for webhook in (active, disabled)]
    assert [one.missed_events for one in found if one] == [Missed(8, 9, 10), None]


@pytest.mark.guarantee("3b.2")
def test_a_page_of_some_states_examines_so_many_deliveries_and_reports_where_it_ended(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database, max_look=3)
    webhook = store.create(made("w"), 1)
    assert store.record_batch(FanoutBatch(0, 8, None, [draft(webhook, n, f"job-{n}") for n in range(1, 9)]), 5)
    [first, *_] = sorted(claim(delivery_store, 5), key=lambda one: one.position)
    claim(delivery_store, 6, first.attempted(DeliveryAttempt(5, 1, 200, ""), None))
    pages, place = list[list[int]](), None
    while not pages or place:
        page, place = delivery_store.deliveries(webhook.key, frozenset({DeliveryState.DELIVERED}), place, 2)
        pages.append([one.position for one in page])
    assert pages == [[], [], [1]]
    everything, last = delivery_store.deliveries(webhook.key, frozenset(), None, 5)
    assert [one.position for one in everything] == [8, 7, 6, 5, 4]
    assert last == (4, 0)


def test_a_page_of_deliveries_fits_into_a_reply(database: Database):
    store, delivery_store = SqlWebhookStore(database), SqlDeliveryStore(database)
    webhook = store.create(made("w"), 1)
    event_type = (DeliveryAttempt(5, 1, 500, "x" * 100_000),) * 20  # far more than the service itself notes
    drafts = [draft(webhook, n, f"job-{n}") for n in range(1, 5)]
    drafts = [replace(one, attempts=event_type) for one in drafts]
    assert store.record_batch(FanoutBatch(0, 4, None, drafts), 5)
    page, last = delivery_store.deliveries(webhook.key, frozenset(), None, 10)
    assert [one.position for one in page] == [4]
    assert last == (4, 0)
