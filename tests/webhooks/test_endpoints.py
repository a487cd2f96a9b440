"""The calls that create, read, change and remove webhooks, and what they refuse."""

import asyncio

import grpc
import pytest
from jobledger.v1 import webhook_pb2 as hooks
from jobledger.v1 import webhook_service_pb2 as rpc
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES

from tests.support.errors import invalid, refused
from tests.support.pages import pages_of
from tests.support.receiver import Receiver
from tests.webhooks.conftest import ALL_TYPES, CREATED, TYPES, Hooks

ACTIVE, DISABLED, PAUSED = hooks.WEBHOOK_STATE_ACTIVE, hooks.WEBHOOK_STATE_DISABLED, hooks.WEBHOOK_STATE_PAUSED
PROGRESS = TYPES.WEBHOOK_EVENT_TYPE_JOB_PROGRESS
UNKNOWN = "01890000-0000-7000-8000-000000000000"


async def create(hook: Hooks, url: str = "https://example.org/hooks", **fields: object) -> rpc.CreateWebhookResponse:
    return await hook.create_at(url, **fields)


async def test_a_webhook_has_what_it_was_created_with(hook: Hooks, kind: str):
    types = [TYPES.WEBHOOK_EVENT_TYPE_JOB_FAILED, PROGRESS]
    created = await create(
        hook, event_types=types, progress_percents=[90, 10, 90], kinds=[kind, kind], labels={"a": "1"}, description="d"
    )
    webhook = created.webhook
    assert created.created
    assert (webhook.owner, webhook.url, webhook.description) == ("default", "https://example.org/hooks", "d")
    assert (list(webhook.event_types), list(webhook.progress_percents)) == (types, [10, 90])
    assert (list(webhook.kinds), dict(webhook.labels)) == ([kind], {"a": "1"})
    assert (webhook.state, webhook.state_reason) == (ACTIVE, "")
    assert webhook.create_time == webhook.update_time == webhook.state_time
    assert await hook.get(webhook.webhook_id) == webhook


async def test_what_is_not_given_has_its_default(hook: Hooks):
    webhook = (await create(hook)).webhook
    assert set(webhook.event_types) == set(ALL_TYPES) - {PROGRESS}
    assert not webhook.progress_percents
    webhook = await hook.update(webhook.webhook_id, "event_types", event_types=[PROGRESS])
    assert list(webhook.progress_percents) == [25, 50, 75]
    webhook = await hook.update(webhook.webhook_id, "event_types")
    assert PROGRESS not in webhook.event_types
    assert not webhook.progress_percents
    for state in (ACTIVE, DISABLED):
        assert (await create(hook, state=state)).webhook.state == state


async def test_only_what_the_mask_names_is_changed(hook: Hooks, kind: str):
    before = (await create(hook, labels={"a": "1"}, description="d", kinds=[kind])).webhook
    others = {"labels": {"b": "2"}, "description": "new", "kinds": ["x"], "state": DISABLED, "event_types": CREATED}
    after = await hook.update(before.webhook_id, "url", url="https://example.org/new", **others)
    assert after.update_time.ToDatetime() > before.update_time.ToDatetime()
    before.url, before.update_time.seconds, before.update_time.nanos = (
        "https://example.org/new",
        after.update_time.seconds,
        after.update_time.nanos,
    )
    assert after == before
    emptied = await hook.update(before.webhook_id, "labels", "description", "kinds")
    assert (dict(emptied.labels), emptied.description, list(emptied.kinds)) == ({}, "", [])


async def test_an_equal_request_creates_one_webhook(hook: Hooks, kind: str):
    answers = await asyncio.gather(*(create(hook, request_id=kind) for _ in range(8)))
    assert [answer.created for answer in answers].count(True) == 1
    assert len({answer.webhook.webhook_id for answer in answers}) == 1
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED") as result:
        await create(hook, request_id=kind, description="another")
    assert result.metadata == {"request_id": kind, "webhook_id": answers[0].webhook.webhook_id}


async def test_a_deleted_webhook_is_gone_with_its_deliveries(hook: Hooks, receiver: Receiver, kind: str):
    webhook_id = (await hook.create(receiver, kind, event_types=CREATED)).webhook.webhook_id
    await hook.api.create(kind)
    await receiver.next()
    await hook.delete(webhook_id)
    for call in (
        hook.get(webhook_id),
        hook.update(webhook_id, "description"),
        hook.deliveries(webhook_id),
        hook.redeliver(webhook_id, since_position=0),
        hook.ping(webhook_id),
        hook.calls.RotateWebhookSecret(rpc.RotateWebhookSecretRequest(webhook_id=webhook_id)),
        hook.calls.DeleteWebhook(rpc.DeleteWebhookRequest(webhook_id=webhook_id)),
    ):
        with refused(grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND") as result:
            await call
        assert result.metadata == {"webhook_id": webhook_id}


async def test_there_may_be_a_hundred_and_they_are_listed_in_pages(hook: Hooks):
    ids = [(await create(hook)).webhook.webhook_id for _ in range(100)]
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_WEBHOOKS") as result:
        await create(hook)
    assert result.metadata == {"limit": "100"}
    pages = pages_of(hook.calls.ListWebhooks, rpc.ListWebhooksRequest(page_size=30))
    assert [webhook.webhook_id async for page in pages for webhook in page.webhooks] == ids
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await hook.calls.ListWebhooks(rpc.ListWebhooksRequest(page_token="x"))


@pytest.mark.guarantee("3b.2")
async def test_a_page_of_the_largest_webhooks_fits_into_a_reply(hook: Hooks):
    """Their labels have as many characters of four bytes as they may, and as many kinds are named."""
    labels = {f"{n:02}{'n' * 61}": "\U0001f99c" * 255 for n in range(64)}
    kinds = [f"k{n:02}.{'x' * 124}" for n in range(100)]
    url = f"https://example.com/{'u' * 2_000}"
    ids = []
    for _ in range(36):
        made = await hook.create_at(url, labels=labels, kinds=kinds, description="\U0001f99c" * 1_024)
        ids.append(made.webhook.webhook_id)
    pages = [page async for page in pages_of(hook.calls.ListWebhooks, rpc.ListWebhooksRequest())]
    assert [webhook.webhook_id for page in pages for webhook in page.webhooks] == ids
    assert len(pages) == 2
    assert max(page.ByteSize() for page in pages) < MAX_REPLY_BYTES + 1_024


async def test_deliveries_are_listed_in_pages_newest_first(hook: Hooks, receiver: Receiver, kind: str):
    webhook_id = (await hook.create(receiver, kind)).webhook.webhook_id
    jobs = [await hook.api.create(kind) for _ in range(3)]
    for job in jobs:
        await hook.api.cancel(job.job_id)
    reported = await receiver.take(6)
    every = await hook.settled(webhook_id, hooks.WEBHOOK_DELIVERY_STATE_DELIVERED, count=6)
    assert [one.position for one in every] == sorted((one.position for one in reported), reverse=True)
    listed, token = [], ""
    while True:
        request = rpc.ListWebhookDeliveriesRequest(webhook_id=webhook_id, page_size=2, page_token=token)
        page = await hook.calls.ListWebhookDeliveries(request)
        listed += page.deliveries
        if not (token := page.next_page_token):
            break
        states = [hooks.WEBHOOK_DELIVERY_STATE_DEAD]
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            other = rpc.ListWebhookDeliveriesRequest(webhook_id=webhook_id, states=states, page_token=token)
            await hook.calls.ListWebhookDeliveries(other)
    assert listed == every
    assert await hook.deliveries(webhook_id, hooks.WEBHOOK_DELIVERY_STATE_DEAD) == []


async def test_a_request_that_breaks_a_rule_is_refused(hook: Hooks):
    rules = [
        ("event_types[1]", {"event_types": [1, 99]}),
        ("event_types[0]", {"event_types": [0]}),
        ("progress_percents", {"progress_percents": [50]}),
        ("progress_percents", {"event_types": [PROGRESS], "progress_percents": [0]}),
        ("progress_percents", {"event_types": [PROGRESS], "progress_percents": [100]}),
        ("progress_percents", {"event_types": [PROGRESS], "progress_percents": range(1, 22)}),
        ("kinds[0]", {"kinds": ["Not A Kind"]}),
        ("kinds", {"kinds": [f"k{n}" for n in range(101)]}),
        ('labels["a b"]', {"labels": {"a b": ""}}),
        ("description", {"description": "x" * 1_025}),
        ("request_id", {"request_id": "x" * 129}),
        ("state", {"state": PAUSED}),
        ("state", {"state": 99}),
    ]
    for field, fields in rules:
        with invalid(field):
            await create(hook, **fields)
    webhook_id = (await create(hook)).webhook.webhook_id
    for field, paths, fields in [
        ("update_mask", (), {}),
        ("update_mask", ("secret",), {}),
        ("url", ("url",), {}),
        ("state", ("state",), {"state": PAUSED}),
        ("progress_percents", ("progress_percents",), {"progress_percents": [50]}),
    ]:
        with invalid(field):
            await hook.update(webhook_id, *paths, **fields)
    for name in ("", "No Id", "x" * 65):
        with invalid("webhook_id"):
            await hook.get(name)
    with invalid("page_size"):
        await hook.calls.ListWebhooks(rpc.ListWebhooksRequest(page_size=-1))
    with refused(grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND"):
        await hook.get(UNKNOWN)


async def test_a_ping_is_posted_once_signed_and_answered_with_what_happened(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind, state=DISABLED)
    answer = await hook.ping(created.webhook.webhook_id)
    reported = await receiver.next()
    assert reported.verified_by(created.secret)
    assert (reported.type, reported.body["data"]["webhookId"]) == ("webhook.ping", created.webhook.webhook_id)
    assert (answer.delivered, answer.attempt.status_code, answer.attempt.error) == (True, 200, "")
    assert answer.attempt.HasField("start_time")
    receiver.fail(503)
    answer = await hook.ping(created.webhook.webhook_id)
    assert (answer.delivered, answer.attempt.status_code, answer.attempt.error) == (False, 503, "answered 503")
    assert receiver.waiting() == 1
    assert await hook.deliveries(created.webhook.webhook_id) == []
