"""A server over a PostgreSQL that fails over: to a standby with everything, to one that lacks the tail, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc.aio import AioRpcError
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import UpdateJobRequest, WatchJobsResponse, WatchMode
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest, SystemHealth
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest, LeaseStatus

from tests.replicas.conftest import SETTINGS, Connect
from tests.support.api import Api, fresh_kind
from tests.support.bounds import within
from tests.support.cluster import Cluster, Node, cluster
from tests.support.errors import refused
from tests.support.server import Server
from tests.support.streams import Faults, faults
from tests.support.watching import BOOKMARK, Watch

EVERY = WatchMode.WATCH_MODE_EVERY
LOST = grpc.StatusCode.OUT_OF_RANGE, "HISTORY_LOST"


@pytest.fixture
def two() -> Iterator[Cluster]:
    """Return a primary with a standby, which is asynchronous until a test says otherwise."""
    with cluster() as opened:
        opened.add_standby(synchronous=False)
        yield opened


@pytest.fixture
def server(two: Cluster, tmp_path: Path) -> Iterator[Server]:
    """Return a server that knows both nodes."""
    with running_over(two, tmp_path, SETTINGS) as started:
        yield started


@contextmanager
def running_over(two: Cluster, directory: Path, settings: dict[str, str]) -> Iterator[Server]:
    """Run a server that knows both nodes for the length of the block."""
    started = Server(two.url(*two.nodes), directory, settings).start()
    yield started
    started.stop()
    unexpected = [one for one in started.defects() if not str(one["event"]).startswith("the database")]
    assert unexpected == []


async def create(api: Api, kind: str, count: int) -> list[str]:
    """Create jobs, each as soon as the database takes it, and return the ids of those that were acknowledged."""
    made = []
    while len(made) < count:
        try:
            made.append((await api.create(kind)).job_id)
        except AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
    return made


async def read_to_loss(watch: Watch[WatchJobsResponse]) -> list[WatchJobsResponse]:
    """Return the changes that a watch brings until it ends with HISTORY_LOST."""
    changes: list[WatchJobsResponse] = []
    with refused(*LOST):
        while True:
            changes.append(await watch.change())
    return changes


def raised(job: Job, priority: int) -> UpdateJobRequest:
    return UpdateJobRequest(job_id=job.job_id, priority=priority, update_mask={"paths": ["priority"]})


async def health(api: Api) -> SystemHealth:
    return (await AdminServiceStub(api.channel).GetSystemHealth(GetSystemHealthRequest())).health


def fail_over(two: Cluster) -> tuple[Node, Node]:
    """Lose the primary's host, and promote the standby; return the old primary and the new one."""
    old, new = two.nodes
    old.kill()
    two.promote(new)
    return old, new


@pytest.mark.guarantee("3a.6", "3c.5", "3d.2")
async def test_a_lost_tail_ends_streams_and_nothing_that_it_gave_is_taken_again(
    two: Cluster, server: Server, connect: Connect
):
    api, kind = connect(server), fresh_kind()
    first = await create(api, kind, 10)
    watch = api.watch_jobs(kind, mode=EVERY)
    snapshots = await watch.changes(10)
    two.wait_for(two.nodes[1])
    kept = (await watch.bookmark()).cursor
    job = await api.get(snapshots[0].job.job_id)
    two.nodes[1].leave()

    [claimed] = await api.claim(kind, worker="of the lost tail")
    updated = await api.jobs.UpdateJob(raised(job, 7))
    lost_page = await api.list_jobs(page_size=2)
    lost = await create(api, kind, 9)
    await watch.changes(11)
    of_job = api.watch_job(lost[0], mode=EVERY)
    await of_job.change()
    fail_over(two)
    created = await create(api, kind, 37)

    assert await read_to_loss(watch) == []
    with refused(*LOST):
        await of_job.change()
    await held_as_lost(api, kind, watch.cursor)
    seen = await api.watch_jobs(kind, mode=EVERY, cursor=kept).changes(37)
    assert [message.job.job_id for message in seen] == created
    first_new = seen[0].event.position
    assert faults([one.event.position for one in seen], first_new, first_new + 36) == Faults()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await api.list_jobs(page_size=2, page_token=lost_page.next_page_token)
    again = await api.jobs.UpdateJob(raised(job, 8))
    assert again.job.revision == updated.job.revision
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await api.cancel(job.job_id, etag=updated.job.etag)

    again_claimed = ClaimChunkRequest(job_id=claimed.job_id, chunk_index=0, worker="of what is left")
    held = (await api.work.ClaimChunk(again_claimed)).chunk
    assert held.lease.token != claimed.lease.token
    [stale] = await api.complete(claimed)
    assert stale.status == LeaseStatus.LEASE_STATUS_LEASE_LOST
    [ended] = await api.complete(held)
    assert ended.status == LeaseStatus.LEASE_STATUS_OK

    found = await health(api)
    assert (found.database.lost_positions, len(first)) == (11, 10)
    assert [reason for reason in found.reasons if "11 acknowledged changes are gone" in reason]
    server.stop()
    server.start()
    await held_as_lost(connect(server), kind, watch.cursor)


async def held_as_lost(api: Api, kind: str, cursor: bytes) -> None:
    """Hold that both watches refuse a cursor of the lost tail."""
    for opened in (api.watch_jobs(kind, cursor=cursor), api.watch_job((await create(api, kind, 1))[0], cursor=cursor)):
        with refused(*LOST):
            await opened.message()


@pytest.mark.guarantee("3d.1")
async def test_a_synchronous_fail_over_loses_nothing_and_nobody_lists_again(
    two: Cluster, server: Server, connect: Connect
):
    api, kind = connect(server), fresh_kind()
    two.primary.set("synchronous_standby_names", two.nodes[1].folder.name)
    await create(api, kind, 3)
    watch = api.watch_jobs(kind, mode=EVERY)
    await watch.changes(3)
    await watch.bookmark()
    [claimed] = await api.claim(kind)
    page = await api.list_jobs(page_size=2)
    before = await watch.change()
    fail_over(two)
    created = await create(api, kind, 10)

    after = await watch.changes(10)
    positions = [one.event.position for one in (before, *after)]
    assert faults(positions, positions[0], positions[0] + 10) == Faults()
    assert [one.job.job_id for one in after] == created
    assert (await api.report(claimed)).status == LeaseStatus.LEASE_STATUS_OK
    following = await api.list_jobs(page_size=2, page_token=page.next_page_token)
    assert len(following.jobs) == 1
    resumed = await api.watch_jobs(kind, mode=EVERY, cursor=before.cursor).changes(10)
    assert [one.job.job_id for one in resumed] == created
    assert (await health(api)).database.lost_positions == 0


@pytest.mark.guarantee("3d.3")
async def test_a_primary_that_comes_back_is_not_written_to(two: Cluster, server: Server, connect: Connect):
    api, kind = connect(server), fresh_kind()
    await create(api, kind, 5)
    two.wait_for(two.nodes[1])
    old, new = fail_over(two)
    acknowledged = await create(api, kind, 5)
    old.start()
    for _ in range(3):
        new.end_connections()
        acknowledged += await create(api, kind, 5)
    assert count_of(old, kind) == 5
    assert count_of(new, kind) == 5 + len(acknowledged)
    assert (await health(api)).database.lost_positions == 0
    assert (await within(api.watch_jobs(kind).until(lambda one: one.type == BOOKMARK))).cursor


@pytest.mark.guarantee("3d.3")
async def test_an_old_primary_whose_commits_wait_for_ever_is_left_for_the_new_one(
    two: Cluster, tmp_path: Path, connect: Connect
):
    old, new = two.nodes
    old.set("synchronous_standby_names", new.folder.name)
    quick = SETTINGS | {"STATEMENT_SECONDS": "2"}
    with running_over(two, tmp_path, quick) as server:
        api, kind = connect(server), fresh_kind()
        await create(api, kind, 3)
        two.promote(new)
        acknowledged = await create(api, kind, 5)
        assert (count_of(new, kind), len(acknowledged)) == (8, 5)
        assert (await health(api)).database.lost_positions == 0


def count_of(node: Node, kind: str) -> int:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(node.address, dbname="ledger") as connection:
        [count] = connection.execute("SELECT count(*) FROM jobs WHERE kind = %s", [kind]).fetchone() or [0]
        return int(count)
