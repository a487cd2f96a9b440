"""Several replicas over one database: every event is delivered in order for its job, and none is delivered twice."""

import asyncio
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.replicas.conftest import serving
from tests.support import postgres
from tests.support.databases import new_database
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server
from tests.webhooks.conftest import CREATED, DELIVERED, LOCAL, At

pytestmark = pytest.mark.long  # servers are killed while they deliver

JOBS = 60
BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextmanager
def delivering(directory: Path, timeout: str) -> Iterator[list[Server]]:
    """Start three replicas that may deliver to this machine, to receivers that may take so many seconds."""
    with serving(new_database("postgresql", directory), directory, 3, **LOCAL | {"webhook_timeout": timeout}) as three:
        yield three


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Server]]:
    """Return three replicas that give no receiver up."""
    with delivering(tmp_path, "100") as servers:
        yield servers


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[list[Server]]:
    """Return three replicas whose deliveries, when they were killed, are left alone for twice 5 s."""
    with delivering(tmp_path, "5") as servers:
        yield servers


async def test_each_event_is_delivered_once(three: list[Server], at: At, receiver: Receiver, kind: str):
    hooks = [at(server) for server in three]
    created = await hooks[0].create(receiver, kind)

    async def live(number: int) -> None:
        job = await hooks[number % 3].api.create(kind)
        await hooks[(number + 1) % 3].api.cancel(job.job_id)

    await asyncio.gather(*(live(number) for number in range(JOBS)))
    reported = await receiver.take(2 * JOBS)
    await hooks[1].settled(created.webhook.webhook_id, DELIVERED, count=2 * JOBS)
    assert receiver.waiting() == 0
    assert set(Counter(one.id for one in reported).values()) == {1}
    lives: dict[str, list[str]] = defaultdict(list)
    for one in reported:
        lives[one.job_id].append(one.type)
    assert list(lives.values()) == [["job.created", "job.cancelled"]] * JOBS


async def test_a_replica_that_is_killed_leaves_its_work_to_the_others(
    hasty: list[Server], at: At, receiver: Receiver, kind: str
):
    hooks = [at(server) for server in hasty]
    receiver.fail(500, times=JOBS // 2)
    created = await hooks[0].create(receiver, kind)
    jobs = [await hooks[number % 3].api.create(kind) for number in range(JOBS)]
    hasty[0].kill()
    for job in jobs:
        await hooks[1].api.cancel(job.job_id)
    taken: set[str] = set()
    while len(taken) < 2 * JOBS:  # some of them when the leases of the server that is gone are over
        one = await receiver.next()
        if one.status == 200:
            taken.add(one.id)
    delivered = await hooks[2].settled(created.webhook.webhook_id, DELIVERED, count=2 * JOBS)
    assert {one.delivery_id for one in delivered} == taken


@pytest.mark.guarantee("3d.9")
async def test_a_replica_that_stops_while_it_claims_gives_back_what_it_claimed(
    tmp_path: Path, at: At, receiver: Receiver, kind: str
):
    settings = LOCAL | {"webhook_timeout": "300", "webhook_endpoint_concurrency": "1"}
    hold = threading.Event()
    receiver.answer = lambda _: Answer(after=hold)
    with serving(new_database("postgresql", tmp_path), tmp_path, 1, **settings) as [server]:
        hooks = at(server)
        await hooks.create(receiver, kind, event_types=CREATED)
        for _ in range(2):
            await hooks.api.create(kind)
        first = await receiver.next()
        with postgres.connect(server.database) as blocking, blocking.transaction():
            blocking.execute("LOCK TABLE deliveries IN SHARE MODE")
            hold.set()  # the first attempt ends, and the second delivery is claimed when that is recorded
            while blocking.execute(BLOCKED).fetchone() is None:
                pass
            server.terminate()
            await asyncio.to_thread(_wait_until_closed, server)
        assert await asyncio.to_thread(server.wait) == 0
        server.start()
        second = await receiver.next()  # at once: the lease of ten minutes is not waited for
        assert second.job_id != first.job_id


def _wait_until_closed(server: Server) -> None:
    """Wait until a server that drains takes no connections: then it stops its duties."""
    host, _, port = server.target.rpartition(":")
    with suppress(ConnectionRefusedError):
        while True:
            socket.create_connection((host, int(port))).close()
