"""A server that is killed, or away for too long: what was committed is delivered, and what is lost is told."""

import os
import signal
import threading

from jobledger.v1 import webhook_pb2 as hooks
from jobledger_service.store.engines import open_database
from jobledger_service.store.tables import webhook_place
from sqlalchemy import update

from tests.conftest import QUICK, StartServer
from tests.support.receiver import Answer, Receiver
from tests.webhooks.conftest import ALL_TYPES, CREATED, DELIVERED, LOCAL, PENDING, At, Hooks

SHORT = {"webhook_timeout": "0.3"}  # and so are the leases of attempts that a crash left behind


async def test_what_was_committed_is_delivered_after_a_crash(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL)
    hook: Hooks = at(server)
    receiver.fail(500)  # nothing is delivered before the crash
    created = await hook.create(receiver, kind, event_types=ALL_TYPES)
    jobs = [await hook.api.create(kind) for _ in range(20)]
    for job in jobs:
        await hook.api.cancel(job.job_id)
    server.kill()
    receiver.fail(times=0)
    server.start()
    again: Hooks = at(server)
    taken: dict[str, list[str]] = {job.job_id: [] for job in jobs}
    while not all(told[-1:] == ["job.cancelled"] for told in taken.values()):
        one = await receiver.next()
        assert one.verified_by(created.secret)
        if one.status == 200 and one.type not in taken[one.job_id]:
            taken[one.job_id].append(one.type)
    assert all(told == ["job.created", "job.cancelled"] for told in taken.values())
    delivered = await again.settled(created.webhook.webhook_id, DELIVERED, count=40)
    assert len(delivered) == 40


async def test_an_attempt_that_a_crash_cut_off_is_made_again(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL | SHORT)
    hook: Hooks = at(server)
    receiver.answer = lambda _: _killed(server.pid)
    created = await hook.create(receiver, kind, event_types=CREATED)
    await hook.api.create(kind)
    first = await receiver.next()
    server.wait()
    receiver.fail(times=0)
    server.start()
    second = await receiver.next()
    assert (first.id, first.raw) == (second.id, second.raw)
    [delivery] = await at(server).settled(created.webhook.webhook_id, DELIVERED)
    assert (delivery.attempt_count, len(delivery.attempts)) == (2, 1)


def _killed(pid: int) -> Answer:
    """Kill the server that waits for this answer."""
    os.kill(pid, signal.SIGKILL)
    return Answer()


async def test_a_server_that_drains_gives_its_attempts_back(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL | {"webhook_timeout": "300"})
    hook: Hooks = at(server)
    hold = threading.Event()
    receiver.answer = lambda _: Answer(after=hold)
    created = await hook.create(receiver, kind, event_types=CREATED)
    await hook.api.create(kind)
    await receiver.next()
    assert server.stop() == 0
    hold.set()
    receiver.fail(times=0)
    server.start()
    await receiver.next()  # at once: the lease of ten minutes is not waited for
    assert await at(server).settled(created.webhook.webhook_id, DELIVERED)


async def test_events_that_are_trimmed_before_they_are_read_are_told_of(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL)
    hook: Hooks = at(server)
    created = await hook.create(receiver, kind, event_types=CREATED)
    webhook_id = created.webhook.webhook_id
    for _ in range(3):
        await hook.api.create(kind)
    await receiver.take(3)
    await hook.settled(webhook_id, DELIVERED, count=3)
    assert not (await hook.get(webhook_id)).HasField("missed_events")
    assert server.stop() == 0
    _forget_the_place(server.database)
    trimming = start_server(server.database, **QUICK | LOCAL | {"event_retention": "0", "webhook_allow_http": "false"})
    hook = at(trimming)
    while not (webhook := await hook.get(webhook_id)).HasField("missed_events"):
        pass
    missed = webhook.missed_events
    assert (missed.first_position, missed.last_position) == (1, 3)
    assert "positions 1 to 3" in trimming.tail()
    assert webhook.state == hooks.WEBHOOK_STATE_ACTIVE
    assert receiver.waiting() == 0
    await hook.api.create(kind)
    [waiting] = await hook.settled(webhook_id, PENDING)
    assert waiting.position == 4


def _forget_the_place(database: str) -> None:
    """Put the webhooks back to the beginning, as if they had been away for as long as history is kept."""
    opened = open_database(database)
    with opened.write() as connection:
        connection.execute(update(webhook_place).values(position=0))
    opened.close()
