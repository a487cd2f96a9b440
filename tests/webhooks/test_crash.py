"""A server that is killed, or away for too long: what was committed is delivered, and what is lost is told."""

import os
import signal
import threading
from contextlib import closing

import grpc
import pytest
from jobledger.v1 import webhook_pb2 as hooks
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.tables import events, ledger
from jobledger_service.features.webhooks.tables import webhook_checkpoint
from sqlalchemy import delete, update

from tests.conftest import QUICK, StartServer
from tests.support.receiver import Answer, Receiver
from tests.webhooks.conftest import ALL_TYPES, CREATED, DELIVERED, LOCAL, PENDING, At, Hooks

pytestmark = [
    pytest.mark.long,  # servers are killed while they deliver
    pytest.mark.one_store("on PostgreSQL others take over from a server that died: webhooks/test_replicas.py"),
]


async def test_what_was_committed_is_delivered_after_a_crash(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL)
    hook: Hooks = at(server)
    receiver.fail(500)  # nothing is delivered before the crash
    created = await hook.create(receiver, kind, event_types=ALL_TYPES)
    jobs = [await hook.api.create(kind) for _ in range(20)]
    receiver.answer = lambda _: _killed(server.pid)  # in the middle of an attempt
    for job in jobs:
        if not await cancelled(hook, job.job_id):
            break
    server.wait()
    receiver.fail(times=0)
    before = receiver.waiting()
    server.start()
    again: Hooks = at(server)
    for job in jobs:
        await again.api.cancel(job.job_id)
    taken: dict[str, list[str]] = {job.job_id: [] for job in jobs}
    while not all(reported[-1:] == ["job.cancelled"] for reported in taken.values()):
        one = await receiver.next()
        assert one.verified_by(created.secret)
        # At least once: attempts that were under way are repeated.
        if len(receiver.received) > before and one.type not in taken[one.job_id]:
            taken[one.job_id].append(one.type)
    assert all(reported == ["job.created", "job.cancelled"] for reported in taken.values())
    delivered = await again.settled(created.webhook.webhook_id, DELIVERED, count=40)
    assert len(delivered) == 40


async def cancelled(hook: Hooks, job_id: str) -> bool:
    """Cancel a job; tell whether the server was still there."""
    try:
        await hook.api.cancel(job_id)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - the end of the server is what it is about
        return False
    return True


def _killed(pid: int) -> Answer:
    """Kill the server that waits for this answer."""
    os.kill(pid, signal.SIGKILL)
    return Answer()


async def test_a_server_that_drains_gives_its_attempts_back_and_one_that_was_away_reports_what_it_missed(
    start_server: StartServer, at: At, receiver: Receiver, kind: str
):
    server = start_server(**QUICK | LOCAL | {"webhook_timeout": "300"})
    hook: Hooks = at(server)
    hold = threading.Event()
    receiver.answer = lambda _: Answer(after=hold)
    webhook_id = (await hook.create(receiver, kind, event_types=CREATED)).webhook.webhook_id
    await hook.api.create(kind)
    await receiver.next()
    assert server.stop() == 0
    hold.set()
    receiver.fail(times=0)
    server.start()
    await receiver.next()  # at once: the lease of ten minutes is not waited for
    hook = at(server)
    await hook.settled(webhook_id, DELIVERED)
    assert not (await hook.get(webhook_id)).HasField("missed_events")
    assert server.stop() == 0

    _outlive_the_history(server.database)
    receiver.fail(500)
    server.start()
    hook = at(server)
    while not (webhook := await hook.get(webhook_id)).HasField("missed_events"):
        pass
    assert (webhook.missed_events.first_position, webhook.missed_events.last_position) == (1, 1)
    assert '"first": 1, "last": 1, "event": "history was trimmed before webhooks had read it"' in server.tail()
    assert webhook.state == hooks.WEBHOOK_STATE_ACTIVE
    await hook.api.create(kind)
    [waiting] = await hook.settled(webhook_id, PENDING)
    assert waiting.position == 2


def _outlive_the_history(database: str) -> None:
    """Trim the first event, and put the webhooks back before it, as if they had been away for so long."""
    with closing(open_database(database)) as opened, opened.write() as connection:
        connection.execute(delete(events).where(events.c.position == 1))
        connection.execute(update(ledger).values(trimmed=1))
        connection.execute(update(webhook_checkpoint).values(position=0))
