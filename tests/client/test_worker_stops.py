"""How work stops, against a real server: cancelled, lost, drained, and over restarts."""

import asyncio
import threading
from datetime import timedelta
from math import inf

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ClaimedChunk, LeaseResult, LeaseStop
from jobledger_client import (
    AsyncJobClient,
    ChangeType,
    ChunkContext,
    ChunkState,
    JobledgerError,
    JobState,
    JobView,
    LeaseStatus,
    Worker,
)
from jobledger_client._worker._attempt import Attempt

from tests.client.conftest import Serving, Waits, changes
from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = [
    pytest.mark.long,  # servers are stopped and started
    pytest.mark.one_store("the SDK sees messages, not the store"),
]

SHORT = timedelta(seconds=6)  # and longer than a machine stalls between two heartbeats


async def test_a_cancelled_job_reaches_async_handlers(client: AsyncJobClient, serving: Serving, kind: str):
    started, reported, ended_by_cancel = asyncio.Event(), asyncio.Event(), asyncio.Event()
    messages = list[str]()

    async def handler(ctx: ChunkContext) -> None:
        messages.append(ctx.stop_message)
        started.set()
        try:
            await ctx.until_cancelled()
            messages.append(ctx.stop_message)
            reported.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended_by_cancel.set()
            raise

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, lease_duration=SHORT, cancel_grace=timedelta(seconds=2)):
        await started.wait()
        await client.cancel_job(job.job_id, reason="wrong file")
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.CANCELLED
    assert messages == ["", "the job is cancelled: wrong file"]
    assert reported.is_set()
    assert ended_by_cancel.is_set()
    assert ChangeType.CHUNK_RELEASED in await changes(client, job.job_id)


class Crossing:
    """Heartbeats and reports in one: the answer to a completion is overtaken by that to a later heartbeat."""

    def __init__(self, status: LeaseStatus) -> None:
        self.result = LeaseResult(status=status)
        self.completions = self
        self.attempt: Attempt | None = None

    def add(self, attempt: Attempt, keep_for: float = inf, granted: tuple[int, int] | None = None) -> None:
        self.attempt = attempt

    def remove(self, attempt: Attempt) -> None:
        self.attempt = None

    def wake(self) -> None:
        pass

    async def submit(self, item: object) -> LeaseResult:
        self.attempt.lease_lost(LeaseStop())
        return self.result


@pytest.mark.parametrize(
    ("status", "warnings"),
    [
        (LeaseStatus.OK, []),
        (LeaseStatus.LEASE_LOST, ["the lease of chunk 0 of job j was lost before its end was reported"]),
    ],
)
async def test_a_heartbeat_that_crosses_the_completion_is_no_lost_lease(
    caplog: pytest.LogCaptureFixture, status: LeaseStatus, warnings: list[str]
):
    async def handler(ctx: ChunkContext) -> None:
        pass

    crossing = Crossing(status)
    await Attempt(ClaimedChunk(job_id="j"), handler, crossing, crossing, cancel_grace_seconds=0).run()
    assert caplog.messages == warnings


async def test_heartbeats_keep_a_quiet_lease(client: AsyncJobClient, serving: Serving, kind: str):
    expiries: set[float] = set()
    may_end = asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        await may_end.wait()

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, lease_duration=SHORT):
        while len(expiries) < 5:  # four extensions: longer than the lease itself
            chunk = (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0]
            if chunk.HasField("lease_expire_time"):
                expiries.add(chunk.lease_expire_time.ToNanoseconds())
        may_end.set()
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].attempt == 1


async def test_stopping_lets_handlers_finish(client: AsyncJobClient, serving: Serving, kind: str):
    started, may_end = asyncio.Event(), asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        started.set()
        await may_end.wait()

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, drain_timeout=CALL_TIMEOUT) as worker:
        await started.wait()
        worker.stop()
        may_end.set()
    assert (await client.get_job(job.job_id)).state == JobState.COMPLETED


@pytest.mark.parametrize("plain", [False, True])
async def test_stopping_gives_back_what_does_not_finish(
    client: AsyncJobClient, serving: Serving, kind: str, *, plain: bool
):
    loop = asyncio.get_running_loop()
    waits, release_thread = Waits(), threading.Event()

    def stuck(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(waits.started.set)
        release_thread.wait(BOUND)

    job = (await client.create_job(kind)).job
    async with serving({kind: stuck if plain else waits}, drain_timeout=timedelta(seconds=0.01)) as worker:
        await waits.started.wait()
        worker.stop()
    chunk = (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 0)
    release_thread.set()


async def test_cancelling_serve_gives_the_chunks_back(client: AsyncJobClient, server: Server, kind: str):
    handler = Waits()
    worker = Worker(server.target, drain_timeout=CALL_TIMEOUT)
    worker.handler(kind)(handler)
    job = (await client.create_job(kind)).job
    task = asyncio.create_task(worker.serve())
    await handler.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await client.get_job(job.job_id, view=JobView.FULL)).chunks[0].state == ChunkState.PENDING


async def test_a_worker_outlives_a_restart_of_the_server(start_server: StartServer, serving: Serving, kind: str):
    server = start_server()
    started, may_end = asyncio.Event(), asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        started.set()
        await may_end.wait()

    async with (
        AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client,
        serving({kind: handler}, target=server.target, concurrency=1),
    ):
        job = (await client.create_job(kind, item_count=2, chunk_size=1)).job
        waiting = asyncio.create_task(client.wait(job.job_id, timeout=CALL_TIMEOUT))
        await started.wait()
        await asyncio.to_thread(server.kill)
        may_end.set()  # the end of the first chunk finds no server
        await asyncio.to_thread(server.start)
        ended = await waiting
    assert ended.state == JobState.COMPLETED


async def test_a_worker_may_begin_before_its_server(start_server: StartServer, serving: Serving, kind: str):
    server = start_server()
    await asyncio.to_thread(server.stop)
    done = asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        done.set()

    async with serving({kind: handler}, target=server.target):
        await asyncio.to_thread(server.start)
        async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
            await client.create_job(kind)
            await done.wait()


async def test_what_no_waiting_cures_ends_the_worker(server: Server):
    worker = Worker(server.target)
    worker.handler("Not A Kind")(lambda ctx: None)
    with pytest.raises(JobledgerError) as caught:
        await worker.serve()
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_worker_needs_handlers_one_for_each_kind():
    worker = Worker("127.0.0.1:1")
    with pytest.raises(ValueError, match="must have a handler"):
        await worker.serve()
    worker.handler("a.b")(lambda ctx: None)
    with pytest.raises(ValueError, match=r"one handler; 'a\.b' has one"):
        worker.handler("a.b")(lambda ctx: None)
    with pytest.raises(ValueError, match="got 0"):
        Worker("127.0.0.1:1", concurrency=0)


async def test_stopping_before_serving_serves_nothing(server: Server, kind: str):
    worker = Worker(server.target)
    worker.handler(kind)(lambda ctx: None)
    worker.stop()
    await worker.serve()
