"""ListWorkers: who claims for an owner, over all replicas; nobody learns of other owners by it."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grpc import StatusCode
from jobledger.v1.admin_service_pb2 import ListApiKeysRequest
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimChunksRequest,
    CompleteChunksRequest,
    ListWorkersRequest,
    Worker,
)
from jobledger_client import AsyncJobClient, ChunkContext
from jobledger_client import Worker as SdkWorker
from jobledger_client.cli._main import run
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.model.bounds.limits import MAX_REPLY_BYTES, SECOND
from jobledger_service.core.model.owners import Owners
from jobledger_service.core.write.active_workers import (
    ACTIVE,
    MAX_WORKERS,
    REMEMBERED,
    ActiveWorkers,
    SeenWorker,
    WorkerInfo,
)
from jobledger_service.features.access.tables import api_keys
from jobledger_service.features.workers.store import SqlWorkerStore
from sqlalchemy import insert, select

from tests.access.conftest import As, Keyed
from tests.conftest import StartServer
from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.errors import invalid, refused
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.pages import pages_of
from tests.support.server import Server

Connect = Callable[[Server], Api]


async def listed(api: KeyedApi, *names: str) -> dict[str, Worker]:
    """Wait until workers of these names are noted; return all."""
    async with asyncio.timeout(BOUND):
        while True:
            found = {one.worker: one for one in (await api.work.ListWorkers(ListWorkersRequest())).workers}
            if found.keys() >= set(names):
                return found


async def tenant(admin: KeyedApi, as_holder: As, owner: str = "") -> tuple[str, KeyedApi]:
    """Return a new owner, and the API of a caller and worker of his."""
    owner = owner or fresh_kind()[-30:]
    return owner, as_holder(admin, (await admin.make(CALLER, WORKER, owner=owner)).token)


async def test_an_owner_sees_who_claims_over_all_replicas(keyed: Keyed, admin: KeyedApi, as_holder: As):
    owner, api = await tenant(admin, as_holder)
    began, kind = datetime.now(UTC) - timedelta(minutes=1), fresh_kind()
    await api.create(kind, item_count=5, chunk_size=1)
    for number, server in enumerate(keyed.replicas):
        at_server = as_holder(server, api.token)
        await at_server.claim(kind, 2, worker=f"w{number}", version="1.2", host=f"host-{number}")
    names = [f"w{number}" for number, _ in enumerate(keyed.replicas)]
    found = await listed(api, *names)
    assert [name for name, one in found.items() if kind in one.kinds] == names
    for number, name in enumerate(names):
        one = found[name]
        assert (list(one.kinds), list(one.owners), one.chunk_count) == ([kind], [owner], 2)
        assert (one.version, one.host) == ("1.2", f"host-{number}")
        first, last = (moment.ToDatetime(tzinfo=UTC) for moment in (one.first_seen_time, one.last_seen_time))
        assert began < first <= last
    [held, _] = await api.claim(kind, 1, worker="w0"), await api.claim(f"{kind}.next", worker="w0")
    await api.complete(*held)
    async with asyncio.timeout(BOUND):
        while (one := (await listed(api, "w0"))["w0"]).kinds != [f"{kind}.next"]:
            pass
    assert (one.chunk_count, one.version) == (2, ""), "it says what the last claim said"
    assert one.first_seen_time == found["w0"].first_seen_time
    assert one.last_seen_time.ToNanoseconds() > found["w0"].last_seen_time.ToNanoseconds()


@pytest.mark.guarantee("3b.8")
async def test_an_owner_sees_the_fleets_that_serve_it_and_nothing_of_the_others(admin: KeyedApi, as_holder: As):
    (alice, as_alice), (bob, as_bob) = [await tenant(admin, as_holder) for _ in range(2)]
    mine, name = fresh_kind()[-30:], fresh_kind()
    _, of_fleet = await tenant(admin, as_holder, mine)
    fleet = as_holder(admin, (await admin.make(WORKER, owner=mine, served_owners=[alice, bob])).token)
    of_all = as_holder(admin, (await admin.make(WORKER, owner=mine, all_owners=True)).token)
    for api in as_alice, as_bob:
        await api.create(name, item_count=3, chunk_size=1)
    await fleet.claim(name, 4, worker=f"{name}-both")
    await fleet.claim(name, 1, worker=f"{name}-bob", owners=[bob])
    await of_all.claim(name, 1, worker=f"{name}-all", owners=[])
    await as_bob.claim(fresh_kind(), worker="private")
    await listed(as_bob, "private")
    await listed(of_fleet, f"{name}-all", f"{name}-both", f"{name}-bob")
    seen = await listed(as_alice, f"{name}-both", f"{name}-all")
    ours = {worker: (list(one.owners), one.chunk_count) for worker, one in seen.items() if worker.startswith(name)}
    assert ours == {f"{name}-both": ([alice], 2), f"{name}-all": ([alice], 1)}
    assert "private" not in seen
    seen = await listed(of_fleet, f"{name}-all")
    ours = {worker: (sorted(one.owners), one.chunk_count) for worker, one in seen.items() if worker.startswith(name)}
    assert ours == {
        f"{name}-both": (sorted([alice, bob]), 4),
        f"{name}-bob": ([bob], 1),
        f"{name}-all": ([], 1),
    }


async def test_a_fleet_that_claims_by_job_ids_is_seen_by_the_owner_of_the_jobs(admin: KeyedApi, as_holder: As):
    (alice, as_alice), (bob, as_bob) = [await tenant(admin, as_holder) for _ in range(2)]
    mine, of_fleet = await tenant(admin, as_holder)
    fleet = as_holder(admin, (await admin.make(WORKER, owner=mine, served_owners=[alice, bob])).token)
    job = await as_alice.create(fresh_kind(), item_count=2, chunk_size=1)
    request = ClaimChunksRequest(worker="by-job", job_ids=[job.job_id], owners=[alice])
    [held] = (await fleet.work.ClaimChunks(request)).chunks
    for seen in (await listed(as_alice, "by-job"), await listed(of_fleet, "by-job")):
        one = seen["by-job"]
        assert (list(one.owners), list(one.kinds), one.chunk_count) == ([alice], [], 1)
    assert "by-job" not in await listed(as_bob)
    request.job_ids[:] = [job.job_id]
    answer = await fleet.work.CompleteChunks(
        CompleteChunksRequest(completions=[ChunkCompletion(lease_token=held.lease.token)], claim=request)
    )
    assert len(answer.claimed) == 1


async def test_a_new_worker_is_seen_at_once(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server(RECORD_SECONDS="3600"))
    await api.create(kind, item_count=3, chunk_size=1)
    for worker in "one", "two":
        await api.claim(kind, worker=worker)
        async with asyncio.timeout(BOUND):
            while worker not in {one.worker for one in (await api.work.ListWorkers(ListWorkersRequest())).workers}:
                pass


async def test_pages_join_to_the_whole_list(admin: KeyedApi, as_holder: As):
    owner, api = await tenant(admin, as_holder)
    fleet = as_holder(admin, (await admin.make(WORKER, owner=f"{owner}-f", served_owners=[owner])).token)
    own, others = [f"a{number}" for number in range(3)], [f"b{number}" for number in range(3)]
    for caller, names in (api, own), (fleet, others):
        for name in names:
            await caller.claim("k", worker=name)
    whole = [name for name in await listed(api, *own, *others) if name in {*own, *others}]
    assert whole == [*own, *others]
    request = ListWorkersRequest(page_size=2)
    pages = [[one.worker for one in page.workers] async for page in pages_of(api.work.ListWorkers, request)]
    assert max(map(len, pages)) <= 2
    assert [name for page in pages for name in page if name in whole] == whole
    with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await admin.work.ListWorkers(request)


async def test_what_a_worker_says_about_itself_is_bounded(admin: KeyedApi, as_holder: As):
    _, api = await tenant(admin, as_holder)
    with invalid("version"):
        await api.claim("k", version="x" * 65)
    with invalid("host"):
        await api.claim("k", host="x" * 256)
    kinds = sorted(f"k{number}" for number in range(100))
    await api.work.ClaimChunks(ClaimChunksRequest(kinds=kinds, worker="wide", version="x" * 64, host="x" * 255))
    assert list((await listed(api, "wide"))["wide"].kinds) == kinds[:20]


async def test_the_sdk_and_the_command_show_the_workers_of_the_sdk(
    admin: KeyedApi, as_holder: As, capsys: pytest.CaptureFixture[str]
):
    _, api = await tenant(admin, as_holder)
    kind, began = fresh_kind(), asyncio.Event()
    worker = SdkWorker(api.target, api_key=api.token, name="of-the-sdk", version="2026.11")

    @worker.handler(kind)
    async def wait(ctx: ChunkContext) -> None:
        began.set()
        await ctx.until_cancelled()

    serving = asyncio.create_task(worker.serve())
    job = await api.create(kind)
    async with asyncio.timeout(BOUND):
        await began.wait()
    await listed(api, "of-the-sdk")
    async with AsyncJobClient(api.target, api_key=api.token) as client:
        [shown] = [one async for one in client.leases.list_workers() if one.worker == "of-the-sdk"]
    assert (shown.worker, shown.version, shown.chunk_count, bool(shown.host)) == ("of-the-sdk", "2026.11", 1, True)
    command = ["workers", "--target", api.target, "--api-key", api.token]
    assert await asyncio.to_thread(run, command) == 0
    assert await asyncio.to_thread(run, [*command, "--output", "json"]) == 0
    printed = capsys.readouterr().out
    assert '"worker": "of-the-sdk"' in printed
    assert "CHUNKS" in printed
    await api.cancel(job.job_id)
    worker.stop()
    await serving


INFO = WorkerInfo(("k",), None, "", "")


def names(store: SqlWorkerStore, owner: str = "o") -> list[str]:
    return [one.worker for one, _ in store.page(owner, None, 100)[0]]


@pytest.mark.guarantee("3b.2")
@pytest.mark.long
@pytest.mark.one_store("the pages are those of the API")
async def test_pages_of_the_largest_workers_and_keys_fit_into_a_reply(
    start_server: StartServer, as_holder: As, store: str, tmp_path: Path
):
    url = new_database(store, tmp_path)
    token = first_key(url)
    owners = [f"{number:064}" for number in range(100)]
    info = WorkerInfo(tuple(f"{number:0128}" for number in range(20)), Owners(frozenset(owners)), "v" * 64, "h" * 255)
    later = int(datetime.now(UTC).timestamp() + 3_600) * SECOND
    names = [f"{number:0200}" for number in range(500)]
    with closing(open_database(url)) as opened:
        SqlWorkerStore(opened).write([SeenWorker("default", name, later, info) for name in names])
        with opened.write() as connection:
            first = connection.execute(select(api_keys)).mappings().one()
            served = {"name": "é" * 128, "served_owners": " ".join(owners)}
            keys = [{**first, **served, "key_id": f"{n:012}", "change": 9 + n, "digest": b"%d" % n} for n in range(500)]
            connection.execute(insert(api_keys), keys)
    api = as_holder(start_server(url, auth="keys", READ_SECONDS="60"), token)
    by_page: list[list[str]] = []
    workers = ListWorkersRequest(page_size=500)
    while not by_page or workers.page_token:
        page = await api.work.ListWorkers(workers)
        assert page.ByteSize() <= MAX_REPLY_BYTES + 100
        by_page.append([one.worker for one in page.workers])
        workers.page_token = page.next_page_token
    assert by_page[0] + by_page[1] == names
    listing, of_keys = ListApiKeysRequest(page_size=500), list[list[str]]()
    while not of_keys or listing.page_token:
        found = await api.admin.ListApiKeys(listing)
        assert found.ByteSize() <= MAX_REPLY_BYTES + 100
        of_keys.append([one.key_id for one in found.api_keys])
        listing.page_token = found.next_page_token
    assert sorted(of_keys[0] + of_keys[1]) == sorted([first["key_id"], *(key["key_id"] for key in keys)])


def test_silent_workers_and_too_many_of_an_owner_are_forgotten(database: Database):
    store = SqlWorkerStore(database, max_workers=3)
    store.write([SeenWorker("o", f"w{number}", 100 + number, INFO) for number in range(6)])
    store.write([SeenWorker("p", "w", 105, INFO), SeenWorker("o", "unknown", 200), SeenWorker("o", "w0", 150)])
    assert names(store) == [f"w{number}" for number in range(6)]
    assert store.trim(102, 100) == 1 + 2
    assert (names(store), names(store, "p")) == (["w0", "w4", "w5"], ["w"]), "of six, those that were heard last"
    assert store.trim(102, 100) == 0
    assert store.trim(151, 2) == 2
    assert store.trim(151, 2) == 2
    assert store.trim(151, 2) == 0


def test_an_older_report_of_another_replica_changes_nothing(database: Database):
    store = SqlWorkerStore(database)
    newer = WorkerInfo(("b",), Owners(frozenset({"o", "q"})), "2", "h")
    store.write([SeenWorker("o", "w", 100, INFO)])
    store.write([SeenWorker("o", "w", 200, newer)])
    store.write([SeenWorker("o", "w", 150, INFO), SeenWorker("o", "v", 1, INFO)])
    [_, (found, held)], _ = store.page("o", None, 10)
    assert (found.kinds, found.owners, found.version, held) == (("b",), newer.owners, "2", 0)
    assert (found.first_seen_time, found.last_seen_time) == (100, 200)


@pytest.mark.guarantee("3b.3")
def test_one_owner_crowds_nobody_out_of_memory():
    now = [1_000 * SECOND]
    active = ActiveWorkers(lambda: now[0])
    active.record("alice", "hers", INFO)
    for number in range(MAX_WORKERS + 5):
        active.record("bob", f"w{number}")
    assert active.count() == MAX_WORKERS + 1
    now[0] += ACTIVE + 1
    active.record("alice", "hers")
    assert active.count() == 1
    assert active.since(now[0]) == [SeenWorker("alice", "hers", now[0], INFO)], "a heartbeat leaves what it said"
    active.forget(now[0] - REMEMBERED)
    assert len(active.since(0)) == MAX_WORKERS + 1
    active.forget(now[0])
    assert len(active.since(0)) == 1
