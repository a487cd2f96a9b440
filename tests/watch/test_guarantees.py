"""The ten guarantees of a watch, one test each: written at one replica, watched at another."""

import asyncio
from collections.abc import Callable

import pytest
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport
from jobledger_service.core.watch.pages import MAX_PAGE_BYTES

from tests.conftest import StartServer
from tests.operate.conftest import scrape
from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND
from tests.support.lives import FATTER, assert_gapless, assert_ordered, ended, live, report_all
from tests.support.server import Server
from tests.support.states import CANCELLED, CHUNK_COMPLETED, COMPLETED, FAILED, QUEUED, RUNNING
from tests.support.watching import BOOKMARK, CHANGED, DELETED, LEFT, SNAPSHOT, Ended
from tests.watch.conftest import Watching

LATEST, EVERY = WatchMode.WATCH_MODE_LATEST, WatchMode.WATCH_MODE_EVERY
SENT, WATCH_JOBS = "grpc_server_stream_messages_sent_total", "jobledger.v1.JobService/WatchJobs"
Connect = Callable[..., Api]
modes = pytest.mark.parametrize("mode", [LATEST, EVERY], ids=["LATEST", "EVERY"])


@pytest.fixture
def other(connect: Connect, replicas: list[Server]) -> Api:
    """Return the API of the last replica, which watches while the first is written to."""
    return connect(replicas[-1])


@pytest.mark.guarantee("3a.1")
@modes
async def test_01_current_first(api: Api, other: Api, kind: str, in_view: Watching, mode: int):
    job = await api.job_in(RUNNING, kind, item_count=2, chunk_size=1)
    before = (await api.list_jobs(filter={"kinds": [kind]})).cursor
    async with in_view(other, job, mode=mode) as watch:
        first = await watch.message()
    assert (first.type, first.job.revision, first.job.state) == (SNAPSHOT, job.revision, RUNNING)

    await api.claim(kind)
    async with in_view(other, job, mode=mode, cursor=before) as watch:
        first = await watch.message()
    assert (first.type, first.job.revision) == (CHANGED, job.revision + 1)


@pytest.mark.guarantee("3a.2")
@modes
async def test_02_ordered(api: Api, other: Api, kind: str, in_view: Watching, mode: int):
    job = await api.create(kind, item_count=4, chunk_size=1)
    async with in_view(other, job, mode=mode) as watch:
        messages = [await watch.change()]
        await live(api, job)
        messages += await watch.through(ended)
    assert_ordered(messages)


@pytest.mark.guarantee("3a.3")
@modes
async def test_03_unique(api: Api, other: Api, kind: str, in_view: Watching, mode: int):
    job = await api.create(kind, item_count=4, chunk_size=1)
    async with in_view(other, job, mode=mode) as watch:
        messages = [await watch.change()]
        if not watch.cursor:
            await watch.bookmark()
            messages[0].cursor = watch.cursor
        await live(api, job)
        messages += await watch.through(ended)
    positions = [message.event.position for message in messages[1:]]
    assert len(set(positions)) == len(positions)
    for seen, message in enumerate(messages[:-1]):
        async with in_view(other, job, mode=EVERY, cursor=message.cursor) as resumed:
            again = [one.event.position for one in await resumed.through(ended)]
        assert len(set(again)) == len(again)
        assert not set(again) & set(positions[:seen])
        assert set(again) >= set(positions[seen:])


@pytest.mark.guarantee("3a.4")
async def test_04_reliable(api: Api, other: Api, kind: str, in_view: Watching):
    job = await api.create(kind, item_count=4, chunk_size=1)
    async with in_view(other, job, mode=EVERY) as every, in_view(other, job, mode=LATEST) as latest:
        streams = [[await every.change()], [await latest.change()]]
        last = await live(api, job)
        streams[0] += await every.through(ended)
        streams[1] += await latest.through(ended)
    for messages in streams:
        assert_gapless(messages)
        assert messages[-1].job.revision == last.revision
        assert messages[-1].job.state == COMPLETED
    assert not any(message.merged_revision_count for message in streams[0])


@pytest.mark.guarantee("3a.5")
@modes
async def test_05_atomic(api: Api, other: Api, kind: str, watching: Watching, mode: int):
    job = await api.create(kind, item_count=4, chunk_size=1)
    claimed = await api.claim(kind, 4)
    async with watching(other, job, mode=mode) as watch:
        revision = (await watch.change()).job.revision
        await api.complete(*claimed[:3], progress={"job_artifacts": {"a": {"uri": "s3://a/b"}}})
        message = await watch.change()
    assert message.job.revision == message.event.revision == revision + 1
    assert [(chunk.index, chunk.state) for chunk in message.chunks] == [(n, CHUNK_COMPLETED) for n in range(3)]
    assert message.job.chunks_summary.completed == 3
    assert set(message.job.artifacts) == {"a"}


@pytest.mark.guarantee("3a.6")
@pytest.mark.long  # servers are stopped and started
@modes
async def test_06_resumable(start_server: StartServer, connect: Connect, kind: str, watching: Watching, mode: int):
    server = start_server()
    api = connect(server)
    job = await api.create(kind, item_count=2, chunk_size=1)
    async with watching(api, job, mode=mode) as watch:
        known = {job.job_id: (await watch.change()).job.revision}
        claimed = await api.claim(kind, 2)
        await watch.change()
        cursor = watch.cursor
        known[job.job_id] += 1
        await api.complete(claimed[0])
    server.kill()
    server.start()
    api = connect(server)
    await api.complete(claimed[1])
    async with watching(api, job, mode=mode, cursor=cursor) as resumed:
        messages = await resumed.through(ended)
    assert_gapless(messages, known)
    assert known[job.job_id] == (await api.get(job.job_id)).revision


@pytest.mark.guarantee("3a.7")
async def test_07_bookmarkable(api: Api, other: Api, kind: str):
    unseen = fresh_kind()
    async with other.watch_jobs(kind) as watch:
        await watch.bookmark()
        job = await api.create(unseen)
        await watch.bookmark()
        bookmark = await watch.bookmark()
    assert {field.name for field, _ in bookmark.ListFields()} == {"type", "cursor"}
    await api.cancel(job.job_id)
    async with other.watch_jobs(unseen, cursor=bookmark.cursor, mode=EVERY) as resumed:
        assert (await resumed.change()).event.revision == 2


@pytest.mark.guarantee("3a.8")
async def test_08_race_free_with_lists(api: Api, other: Api, kind: str):
    milestones, lists = [[asyncio.Event() for _ in range(5)] for _ in range(2)]

    async def churn(milestone: asyncio.Event) -> None:
        for _ in range(6):
            await live(api, await api.create(fresh_kind(), labels={"run": kind}, item_count=2, chunk_size=1), reports=2)
        milestone.set()
        job = await api.create(fresh_kind(), labels={"run": kind})
        await api.cancel(job.job_id)
        await api.delete(job.job_id)

    async def observe(milestone: asyncio.Event, has_list: asyncio.Event) -> dict[str, int]:
        await milestone.wait()
        filter_ = {"labels": {"run": kind}}
        listed = await other.list_jobs(filter=filter_, page_size=500)
        has_list.set()
        known = {job.job_id: job.revision for job in listed.jobs}
        async with other.watch_jobs(filter=filter_, cursor=listed.cursor, mode=EVERY) as watch:
            messages = await watch.through(lambda message: message.job.display_name == "the last")
        assert_gapless(messages, known)
        return {
            job_id: known[job_id] for job_id in known.keys() - {m.job.job_id for m in messages if m.type == DELETED}
        }

    observers = [asyncio.create_task(observe(*events)) for events in zip(milestones, lists, strict=True)]
    await asyncio.gather(*(churn(milestone) for milestone in milestones))
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(has_list.wait() for has_list in lists))  # the last is in no list
    await api.create(kind, labels={"run": kind}, display_name="the last")
    stored = (await api.list_jobs(filter={"labels": {"run": kind}}, page_size=500)).jobs
    for seen in await asyncio.gather(*observers):
        assert seen == {job.job_id: job.revision for job in stored}

    queued = await api.create(kind)
    async with other.watch_jobs(filter={"kinds": [kind], "states": [QUEUED]}) as watch:
        await watch.bookmark()
        await api.update(queued.job_id, update_mask={"paths": ["priority"]}, priority=9)
        stays = await watch.change()
        await api.cancel(queued.job_id)
        leaves = await watch.change()
    assert (stays.type, leaves.type, leaves.job.state) == (CHANGED, LEFT, CANCELLED)


@pytest.mark.guarantee("3a.9")
@pytest.mark.parametrize(
    "end", [COMPLETED, FAILED, CANCELLED, DELETED], ids=["COMPLETED", "FAILED", "CANCELLED", "DELETED"]
)
@modes
async def test_09_ends_well(api: Api, other: Api, kind: str, mode: int, end: int):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with other.watch_job(job.job_id, mode=mode) as watch:
        assert (await watch.change()).type == SNAPSHOT
        await {
            COMPLETED: lambda: api.complete(claimed),
            FAILED: lambda: api.fail(claimed, not_retryable=True),
            CANCELLED: lambda: api.cancel(job.job_id, force=True),
            DELETED: lambda: api.delete(job.job_id, force=True),
        }[end]()
        last = await watch.until(lambda message: message.type != BOOKMARK)
        with pytest.raises(Ended):
            await watch.message()
    assert end in (last.type, last.job.state)


@pytest.mark.guarantee("3a.10")
@pytest.mark.long  # 200 MB are written past watchers that do not read
async def test_10_bounded(start_server: StartServer, connect: Connect, kind: str):
    """What waits for watchers is counted: in their queues, and in the messages that gRPC took and could not send."""
    server = start_server(metrics_listen="127.0.0.1:0")
    api, jobs, rounds, stuck = connect(server), 5, 100, 10
    await asyncio.gather(*(api.create(kind) for _ in range(jobs)))
    claimed = await api.claim(kind, jobs)
    for one in claimed:
        report = LeaseReport(lease_token=one.lease.token, progress={"job_artifacts": FATTER})
        await api.work.Heartbeat(HeartbeatRequest(reports=[report]))
    queued = []

    async def write() -> None:
        for one in claimed:
            await report_all(api, [one], "the first, one by one")
            queued.append(scrape(server).value("jobledger_watch_queue_bytes"))
        for n in range(1, rounds):
            await report_all(api, claimed, f"round {n}")
            queued.append(scrape(server).value("jobledger_watch_queue_bytes"))

    async def follow(job_id: str) -> None:
        async with connect(server).watch_job(job_id, mode=EVERY) as watch:
            snapshot = await watch.message()
            following.release()
            assert_gapless(await watch.changes(rounds), {job_id: snapshot.job.revision})

    not_reading = [
        connect(server, **{"grpc.http2.bdp_probe": 0}).watch_jobs(kind, mode=mode)
        for mode in [LATEST, EVERY] * (stuck // 2)
    ]
    for watch in not_reading:
        await watch.bookmark()
    before = scrape(server).value(SENT, grpc_method=WATCH_JOBS)
    following = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for one in claimed:
            group.create_task(follow(one.job_id))
        for _ in claimed:
            await following.acquire()
        await group.create_task(write())  # 500 events of 400 kB: 200 MB
    taken = scrape(server).value(SENT, grpc_method=WATCH_JOBS) - before
    assert taken <= stuck * 8, "of 500 for each, as many as its connection takes: 32 MB"
    assert 0 < max(queued) <= stuck * (MAX_PAGE_BYTES + 500_000)
