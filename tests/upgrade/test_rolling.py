"""Servers of a released version are replaced one after another, under load of two owners: nothing is lost, repeated or
left out, and the SDK goes on without help."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jobledger.v1.job_service_pb2 import WatchJobsResponse
from jobledger_client import AsyncJobClient, ChunkContext, JobState, WatchMode, Worker
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.recount import Recounted
from jobledger_service.core.model.history.writer_level import OUTDATED

from tests.conftest import QUICK
from tests.operate.test_writer_level import query
from tests.support.bounds import BOUND, CALL_TIMEOUT, within
from tests.support.lives import assert_gapless, assert_ordered
from tests.support.recount import recount
from tests.support.server import Server, run_command
from tests.upgrade.conftest import STILL
from tests.upgrade.filling import OWNERS, Record
from tests.upgrade.old_servers import OldServer, unpack

pytestmark = pytest.mark.long  # servers are replaced under load

SETTINGS = QUICK | STILL | {"DUE_SCAN_SECONDS": "0.2"}
KIND = "clip.rolling"
STOPPED = "stopped"
"""The name of the job after which an owner's watch needs to see no more."""


@dataclass
class Tenant:
    """An owner who creates jobs, works on them, and watches all of them, by the SDK; and what it was answered."""

    targets: str
    token: str
    acknowledged: list[str] = field(default_factory=list)
    messages: list[WatchJobsResponse] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    progressed: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self) -> None:
        """Do all of it at once until `stopping` is set, then see the end of every job."""
        worker = Worker(self.targets, api_key=self.token)
        worker.handler(KIND)(self._handle)
        async with AsyncJobClient(self.targets, api_key=self.token, timeout=CALL_TIMEOUT) as client:
            cursor = (await client.list_jobs(page_size=1).page()).cursor
            serving = asyncio.create_task(worker.serve())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._watch(client, cursor))
                    group.create_task(self._create(client))
            finally:
                worker.stop()
                await serving

    async def _handle(self, ctx: ChunkContext) -> None:
        ctx.progress(percent=50, message="half")

    async def _create(self, client: AsyncJobClient) -> None:
        while not self.stopping.is_set():
            made = await client.create_job(KIND, item_count=4, chunk_size=2, labels={"user": "u1"})
            self.acknowledged.append(made.job.job_id)
            await client.wait(made.job.job_id, timeout=CALL_TIMEOUT)
            self.progressed.set()
        await client.create_job("clip.other", display_name=STOPPED)

    async def _watch(self, client: AsyncJobClient, cursor: bytes) -> None:
        async with client.watch_jobs(cursor=cursor, mode=WatchMode.EVERY, relist=False, timeout=CALL_TIMEOUT) as watch:
            async for message in watch:
                self.messages.append(message)
                if message.job.display_name == STOPPED:
                    return

    def check(self) -> None:
        """Hold that each acknowledged job was seen from its creation to its end, each revision once."""
        rolled = [message for message in self.messages if message.job.kind == KIND]
        assert_ordered(self.messages)
        assert_gapless(rolled)
        ended = {message.job.job_id for message in rolled if message.job.state == JobState.COMPLETED}
        assert ended == set(self.acknowledged)


@pytest.mark.guarantee("3d.12")
async def test_servers_are_replaced_under_load(
    loaded: str, recorded: Record, old: list[Server], store: str, tmp_path: Path
):
    targets = ",".join(server.target for server in old)
    tenants = [Tenant(targets, recorded.owners[owner].token) for owner in OWNERS]
    living = [asyncio.create_task(tenant.live()) for tenant in tenants]
    await _each_progresses(tenants, living)
    level = query(loaded, "SELECT writer_level FROM ledger")
    if store == "postgresql":
        migrated = await asyncio.to_thread(run_command, tmp_path, "migrate", "--database", loaded)
        assert migrated.returncode == 0, migrated.stderr
    new: list[Server] = []
    try:
        for server in old:
            if query(loaded, "SELECT writer_level FROM ledger") == level or store == "sqlite":
                assert await asyncio.to_thread(server.stop) == 0
            else:
                assert await asyncio.to_thread(server.wait) == OUTDATED
            new.append(Server(loaded, tmp_path, SETTINGS))
            new[-1].target = server.target
            await asyncio.to_thread(new[-1].start)
            await _each_progresses(tenants, living)
        for tenant in tenants:
            tenant.stopping.set()
        await within(asyncio.gather(*living))
        assert [await asyncio.to_thread(server.stop) for server in new] == [0] * len(new)
    finally:
        for server in new:
            server.kill()
    for tenant in tenants:
        tenant.check()
    _nothing_is_miscounted(loaded)


@pytest.fixture
def old(loaded: str, recorded: Record, store: str, tmp_path: Path) -> Iterator[list[Server]]:
    """Return servers of the released version: one on SQLite, two on PostgreSQL."""
    source = unpack(recorded.commit, tmp_path / "released")
    servers: list[Server] = []
    try:
        for _ in range(1 if store == "sqlite" else 2):
            server = OldServer(loaded, tmp_path, SETTINGS)
            server.source = source
            servers.append(server.start())
        yield servers
    finally:
        for server in servers:
            server.kill()


async def _each_progresses(tenants: list[Tenant], living: list[asyncio.Task[None]]) -> None:
    """Wait until each owner has seen the end of a job that was created after this was called; raise what failed."""
    for tenant in tenants:
        for _ in range(2):
            tenant.progressed.clear()
            waiting = asyncio.create_task(tenant.progressed.wait())
            done, _ = await asyncio.wait([waiting, *living], timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                await task
            assert waiting in done


def _nothing_is_miscounted(database: str) -> None:
    with closing(open_database(database)) as opened:
        counted = recount(opened)
    assert counted == Recounted(label_indexes=counted.label_indexes)
