"""Replicas that share limits take their locks in one order: under load there is no deadlock, and nobody else waits."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.replicas.conftest import serving
from tests.support.api import fresh_kind
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi, first_key
from tests.support.limits import each_scope, kind_scope, label_scope, set_limit
from tests.support.postgres import connect as connect_to_database
from tests.support.states import CANCELLED, LEASE_LOST

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EACH = ["each1", "each2", "after", "zone"]
LABELS = [f"{name}{number}" for name in "zyxw" for number in range(4)]
WRITERS, JOBS = 12, 40
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
UNFINISHED = "SELECT count(*) FROM jobs WHERE end_time IS NULL"
LOCKED_SLOTS = "SELECT coalesce(sum(running), 0), coalesce(sum(waiting), 0) FROM limits"


class Load:
    """One owner's callers and workers at all replicas; each job ends, one way or another."""

    def __init__(self, apis: list[KeyedApi], *, limited: bool) -> None:
        self._apis = apis
        self._limited = limited
        self.kinds = [fresh_kind() for _ in range(3)]
        self.created: set[str] = set()
        self.ended: set[str] = set()

    async def run(self) -> None:
        """Create all jobs, and work until all have ended."""
        if self._limited:
            for scope in (*map(kind_scope, self.kinds), *(label_scope(name, "1") for name in LABELS)):
                await set_limit(self._apis[0], scope, random.randint(2, 6))
            await self._limit_each()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WRITERS):
                tasks.create_task(self._create())
                tasks.create_task(self._work())

    async def _limit_each(self) -> None:
        """Pause what is limited by labels, and set other numbers."""
        for scope in (*map(each_scope, EACH), label_scope(random.choice(LABELS), "1")):
            await set_limit(random.choice(self._apis), scope, 0)
            await set_limit(random.choice(self._apis), scope, random.randint(2, 4))

    async def _create(self) -> None:
        for number in range(JOBS):
            labels = dict.fromkeys(random.sample(LABELS, 3), "1") if self._limited else {}
            if self._limited:
                labels |= {name: str(random.randrange(6)) for name in random.sample(EACH, 2)}
                if number % 10 == 0:
                    await self._limit_each()
            api = random.choice(self._apis)
            job = await api.create(
                random.choice(self.kinds), labels=labels, limited_labels=random.sample([*labels], len(labels))
            )
            self.created.add(job.job_id)
            if random.random() < 0.2:
                cancelled = await random.choice(self._apis).cancel(job.job_id)
                if cancelled.job.state == CANCELLED:  # else the worker who has it ends it
                    self.ended.add(job.job_id)

    async def _work(self) -> None:
        while len(self.ended) < WRITERS * JOBS:
            claimed = await random.choice(self._apis).claim(random.choice(self.kinds), 5)
            if not claimed:
                await asyncio.sleep(0)
                continue
            results = await random.choice(self._apis).complete(*claimed)
            self.ended |= {
                one.job_id for one, result in zip(claimed, results, strict=True) if result.status != LEASE_LOST
            }


@pytest.mark.guarantee("3b.5")
async def test_replicas_that_share_limits_never_end_in_a_deadlock(tmp_path: Path):
    database = new_database("postgresql", tmp_path)
    token = first_key(database)
    with serving(database, tmp_path, 3, auth="keys") as servers:
        async with AsyncExitStack() as opened, asyncio.timeout(BOUND):
            admin = KeyedApi(servers[0].target, token)
            opened.push_async_callback(admin.channel.close)
            loads = []
            for owner in ("limited", "free"):
                key = (await admin.make(CALLER, WORKER, ADMIN, owner=owner)).token
                apis = [KeyedApi(server.target, key) for server in servers]
                for api in apis:
                    opened.push_async_callback(api.channel.close)
                loads.append(Load(apis, limited=owner == "limited"))
            await asyncio.gather(*(load.run() for load in loads))
    with connect_to_database(database) as connection:
        assert connection.execute(DEADLOCKS).fetchone() == (0,)
        assert connection.execute(LOCKED_SLOTS).fetchone() == (0, 0)
        assert connection.execute(UNFINISHED).fetchone() == (0,)
    assert all(load.ended == load.created for load in loads)
