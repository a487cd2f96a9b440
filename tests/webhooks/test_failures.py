"""What becomes of deliveries that fail: tried again, dead, made to go again; and of webhooks that fail."""

from datetime import timedelta
from itertools import pairwise

import grpc
import pytest
from jobledger.v1 import webhook_pb2 as hooks

from tests.conftest import QUICK, StartServer
from tests.support.errors import invalid, refused
from tests.support.receiver import Answer, Receiver
from tests.webhooks.conftest import CREATED, DEAD, DELIVERED, LOCAL, PENDING, TYPES, At, Hooks, types_of

pytestmark = pytest.mark.long  # receivers fail until they are given up

ENDS = [TYPES.WEBHOOK_EVENT_TYPE_JOB_CREATED, TYPES.WEBHOOK_EVENT_TYPE_JOB_CANCELLED]
ACTIVE, DISABLED, PAUSED = hooks.WEBHOOK_STATE_ACTIVE, hooks.WEBHOOK_STATE_DISABLED, hooks.WEBHOOK_STATE_PAUSED
SOON = {"webhook_retry_window": "4"}


async def test_a_delivery_is_tried_again_under_the_same_id_until_it_succeeds(
    hook: Hooks, receiver: Receiver, kind: str
):
    receiver.fail(503, times=3)
    created = await hook.create(receiver, kind, event_types=CREATED)
    await hook.api.create(kind)
    reported = await receiver.take(4)
    assert len({one.id for one in reported}) == len({one.raw for one in reported}) == 1
    assert all(one.verified_by(created.secret) for one in reported)
    [delivery] = await hook.settled(created.webhook.webhook_id, DELIVERED)
    assert (delivery.delivery_id, delivery.attempt_count) == (reported[0].id, 4)
    assert [one.status_code for one in delivery.attempts] == [503, 503, 503, 200]
    assert [one.error for one in delivery.attempts] == ["answered 503"] * 3 + [""]
    times = [one.start_time.ToDatetime() for one in delivery.attempts]
    waits = [after - before for before, after in pairwise(times)]
    assert waits[0] >= timedelta(milliseconds=9)
    assert waits[2] >= timedelta(milliseconds=81)  # 10 ms, three times as long each time, 10 % of chance
    assert not delivery.HasField("next_attempt_time")
    assert not (await hook.get(created.webhook.webhook_id)).HasField("failing_since_time")


async def test_what_is_never_taken_is_dead_and_the_next_of_its_job_goes(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    hook: Hooks = at(start_server(**QUICK | LOCAL | SOON))
    receiver.answer = lambda one: Answer(500 if one.type == "job.created" else 200)
    created = await hook.create(receiver, kind, event_types=ENDS)
    job = await hook.api.create(kind)
    await hook.api.cancel(job.job_id)
    reported = await receiver.until(lambda one: one.type == "job.cancelled")
    webhook_id = created.webhook.webhook_id
    [dead] = await hook.deliveries(webhook_id, DEAD)
    assert len(reported) - 1 == dead.attempt_count > 1
    last = dead.attempts[-1]
    tried_until = last.start_time.ToDatetime() + last.duration.ToTimedelta()
    assert tried_until - dead.attempts[0].start_time.ToDatetime() >= timedelta(seconds=4)
    assert dead.HasField("end_time")

    receiver.fail(times=0)
    assert await hook.redeliver(webhook_id, delivery_id=dead.delivery_id) == 1
    again = await receiver.next()
    assert (again.id, again.raw) == (dead.delivery_id, reported[0].raw)
    assert {one.state for one in await hook.settled(webhook_id, DELIVERED, count=2)} == {DELIVERED}


async def test_all_since_a_position_go_again_in_order(hook: Hooks, receiver: Receiver, kind: str):
    created = await hook.create(receiver, kind, event_types=ENDS)
    job = await hook.api.create(kind)
    await hook.api.cancel(job.job_id)
    other = await hook.api.create(kind)
    first = await receiver.take(3)
    webhook_id = created.webhook.webhook_id
    await hook.settled(webhook_id, DELIVERED, count=3)
    assert await hook.redeliver(webhook_id, since_position=max(one.position for one in first) + 1) == 0
    assert await hook.redeliver(webhook_id, since_position=0, states=[DEAD]) == 0
    assert await hook.redeliver(webhook_id, since_position=0) == 3
    again = await receiver.take(3)
    assert [one.id for one in again if one.job_id == job.job_id] == [
        one.id for one in first if one.job_id == job.job_id
    ]
    assert {one.job_id for one in again} == {job.job_id, other.job_id}
    delivered = await hook.settled(webhook_id, DELIVERED, count=3)
    assert {one.attempt_count for one in delivered} == {2}


async def test_a_redelivery_has_to_name_what_there_is(hook: Hooks, receiver: Receiver, kind: str):
    one, two = [(await hook.create(receiver, kind, event_types=CREATED)).webhook.webhook_id for _ in range(2)]
    await hook.api.create(kind)
    await receiver.take(2)
    [theirs] = await hook.deliveries(two)
    for name in (theirs.delivery_id, "x", f"{one}_999999999_0", f"{one}_1", f"{one}_-1_0", "1" * 128):
        with refused(grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND") as result:
            await hook.redeliver(one, delivery_id=name)
        assert result.metadata == {"webhook_id": one, "delivery_id": name}
    with invalid("delivery_id"):
        await hook.redeliver(one)
    with invalid("delivery_id"):
        await hook.redeliver(one, delivery_id="x", since_position=1)
    with invalid("states"):
        await hook.redeliver(one, delivery_id="x", states=[DEAD])
    with invalid("states[0]", "since_position"):
        await hook.redeliver(one, since_position=-1, states=[0])


async def test_gone_disables_the_webhook_and_what_happens_then_is_not_recorded(
    hook: Hooks, receiver: Receiver, kind: str
):
    receiver.fail(410)
    created = await hook.create(receiver, kind, event_types=CREATED)
    webhook_id = created.webhook.webhook_id
    await hook.api.create(kind)
    await receiver.next()
    webhook = await hook.in_state(webhook_id, DISABLED)
    assert "410" in webhook.state_reason
    [dead] = await hook.deliveries(webhook_id)
    assert dead.state == DEAD
    # Another webhook hears of the same jobs: when it has, this one would have too.
    witness = await hook.create(receiver, kind, event_types=CREATED)
    receiver.fail(times=0)
    await hook.api.create(kind)
    assert (await receiver.next()).verified_by(witness.secret)
    resumed = await hook.resume(webhook_id)
    assert (resumed.state, resumed.state_reason) == (ACTIVE, "")
    job = await hook.api.create(kind)
    assert {one.job_id for one in await receiver.take(2)} == {job.job_id}
    assert len(await hook.deliveries(webhook_id)) == 2


async def test_a_webhook_that_keeps_failing_is_paused_and_loses_nothing(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    hook: Hooks = at(start_server(**QUICK | LOCAL, PAUSE_AFTER_SECONDS="0.1"))
    receiver.fail(500)
    created = await hook.create(receiver, kind, event_types=ENDS)
    webhook_id = created.webhook.webhook_id
    job = await hook.api.create(kind)
    await hook.api.cancel(job.job_id)
    webhook = await hook.in_state(webhook_id, PAUSED)
    assert webhook.state_reason == "every attempt failed for 0.1 s"
    assert webhook.HasField("failing_since_time")
    while len(waiting := await hook.deliveries(webhook_id)) < 2:
        pass
    assert {one.state for one in waiting} == {PENDING}
    assert not any(one.HasField("next_attempt_time") for one in waiting)
    during = await hook.api.create(kind)
    while len(waiting) < 3:
        waiting = await hook.deliveries(webhook_id)
    tried = waiting[-1].attempt_count
    failed = await receiver.take(tried)
    assert receiver.waiting() == 0

    receiver.fail(times=0)
    webhook = await hook.resume(webhook_id)
    assert (webhook.state, webhook.HasField("failing_since_time")) == (ACTIVE, False)
    reported = await receiver.take(3)
    assert types_of([one for one in reported if one.job_id == job.job_id]) == ["job.created", "job.cancelled"]
    assert types_of([one for one in reported if one.job_id == during.job_id]) == ["job.created"]
    assert len({one.id for one in failed}) == 1


async def test_a_disabled_webhook_keeps_what_waits_and_records_nothing(hook: Hooks, receiver: Receiver, kind: str):
    receiver.fail(500, times=1, Retry_After="3600")
    created = await hook.create(receiver, kind, event_types=CREATED)
    webhook_id = created.webhook.webhook_id
    job = await hook.api.create(kind)
    await receiver.next()
    while not (await hook.deliveries(webhook_id))[0].attempts:
        pass
    disabled = await hook.update(webhook_id, "state", state=DISABLED)
    assert (disabled.state, disabled.state_reason) == (DISABLED, "")
    witness = await hook.create(receiver, kind, event_types=CREATED)
    await hook.api.create(kind)
    assert (await receiver.next()).verified_by(witness.secret)
    [waiting] = await hook.deliveries(webhook_id)
    assert (waiting.state, waiting.HasField("next_attempt_time")) == (PENDING, False)
    await hook.resume(webhook_id)
    assert (await receiver.next()).job_id == job.job_id
