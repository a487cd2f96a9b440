"""How work stops, against a real server: cancelled, lost, drained, and over restarts."""

import asyncio
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from math import inf

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ClaimedChunk, LeaseResult
from jobledger_client import (
    AsyncJobClient,
    ChangeType,
    ChunkContext,
    ChunkState,
    JobClient,
    JobledgerError,
    JobState,
    LeaseStatus,
    RetryPolicy,
    Worker,
)
from jobledger_client._worker._attempt import Attempt

from tests.client.conftest import Serving, changes
from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.long  # servers are stopped and started

SHORT = timedelta(seconds=6)  # and longer than a machine stalls between two heartbeats


async def test_a_cancelled_job_reaches_async_handlers(client: AsyncJobClient, serving: Serving, kind: str):
    started, reported, ended_by_cancel = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        started.set()
        try:
            await ctx.until_cancelled()
            reported.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended_by_cancel.set()
            raise

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, lease_duration=SHORT, cancel_grace=timedelta(seconds=2)):
        await started.wait()
        await client.cancel_job(job.job_id)
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert ended.state == JobState.CANCELLED
    assert reported.is_set()
    assert ended_by_cancel.is_set()
    assert ChangeType.CHUNK_RELEASED in await changes(client, job.job_id)


async def test_a_cancelled_job_reaches_plain_handlers(client: AsyncJobClient, serving: Serving, kind: str):
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handler(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(started.set)
        assert ctx.wait_cancelled(CALL_TIMEOUT)
        assert ctx.cancelled

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, lease_duration=SHORT):
        await started.wait()
        await client.cancel_job(job.job_id)
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.CANCELLED


async def test_a_lost_lease_stops_the_handler_and_reports_nothing(client: AsyncJobClient, serving: Serving, kind: str):
    started, stopped = asyncio.Event(), asyncio.Event()

    async def handler(ctx: ChunkContext) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, lease_duration=SHORT):
        await started.wait()
        await client.cancel_job(job.job_id, force=True)
        await stopped.wait()
    types = await changes(client, job.job_id)
    assert ChangeType.CHUNK_RELEASED not in types
    assert ChangeType.CHUNK_FAILED not in types


@pytest.mark.guarantee("3c.3")
async def test_a_handler_that_runs_for_longer_than_its_timeout_fails_its_attempt(
    client: AsyncJobClient, serving: Serving, kind: str
):
    released = threading.Event()

    async def hangs(ctx: ChunkContext) -> None:
        await asyncio.Event().wait()

    async def swallows(ctx: ChunkContext) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def obeys(ctx: ChunkContext) -> None:
        assert ctx.wait_cancelled(CALL_TIMEOUT)

    def ignores(ctx: ChunkContext) -> None:
        assert released.wait(BOUND)

    handlers = {f"{kind}.{one.__name__}": one for one in (hangs, swallows, obeys, ignores)}
    jobs = [(await client.create_job(one, retry_policy=RetryPolicy(max_attempts=1))).job for one in handlers]
    async with serving(handlers, handler_timeout=timedelta(seconds=0.05)):
        ended = [await client.wait(job.job_id, timeout=CALL_TIMEOUT) for job in jobs]
        released.set()
    assert [(job.state, job.error.code) for job in ended] == [(JobState.FAILED, "HANDLER_TIMEOUT")] * 4


async def test_a_timeout_of_a_kind_goes_before_the_workers_and_the_attempt_is_retried(
    client: AsyncJobClient, server: Server, kind: str
):
    attempts: list[int] = []
    worker = Worker(server.target, cancel_grace=timedelta(seconds=0.05), handler_timeout=timedelta(hours=1))

    @worker.handler(kind, timeout=timedelta(seconds=0.05))
    async def handler(ctx: ChunkContext) -> None:
        attempts.append(ctx.chunk.attempt)
        if ctx.chunk.attempt == 1:
            await asyncio.Event().wait()

    retried = RetryPolicy(max_attempts=2, initial_backoff=timedelta(0))
    job = (await client.create_job(kind, retry_policy=retried)).job
    serving = asyncio.create_task(worker.serve())
    ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    worker.stop()
    await serving
    assert (ended.state, attempts) == (JobState.COMPLETED, [1, 2])


def test_a_timeout_is_more_than_nothing():
    with pytest.raises(ValueError, match="handler_timeout must be more than 0 s; got 0 s"):
        Worker(handler_timeout=timedelta(0))
    with pytest.raises(ValueError, match="timeout must be more than 0 s; got -1 s"):
        Worker().handler("a", timeout=timedelta(seconds=-1))


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
        self.attempt.lease_lost()
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
            chunk = (await client.get_job(job.job_id)).chunks[0]
            if chunk.HasField("lease_expire_time"):
                expiries.add(chunk.lease_expire_time.ToNanoseconds())
        may_end.set()
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    assert (await client.get_job(job.job_id)).chunks[0].attempt == 1


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
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    release_thread = threading.Event()

    async def never(ctx: ChunkContext) -> None:
        started.set()
        await asyncio.Event().wait()

    def stuck(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(started.set)
        release_thread.wait(BOUND)

    job = (await client.create_job(kind)).job
    async with serving({kind: stuck if plain else never}, drain_timeout=timedelta(seconds=0.01)) as worker:
        await started.wait()
        worker.stop()
    chunk = (await client.get_job(job.job_id)).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 0)
    release_thread.set()


async def test_cancelling_serve_gives_the_chunks_back(client: AsyncJobClient, server: Server, kind: str):
    started = asyncio.Event()
    worker = Worker(server.target, drain_timeout=CALL_TIMEOUT)

    @worker.handler(kind)
    async def handler(ctx: ChunkContext) -> None:
        started.set()
        await asyncio.Event().wait()

    job = (await client.create_job(kind)).job
    task = asyncio.create_task(worker.serve())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await client.get_job(job.job_id)).chunks[0].state == ChunkState.PENDING


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


PROGRAM = """
import asyncio, sys
from datetime import timedelta
from jobledger_client import Worker

worker = Worker(sys.argv[1], drain_timeout=timedelta(seconds=0.01), cancel_grace=timedelta(seconds=1))

@worker.handler(sys.argv[2])
async def handler(ctx):
    print("started", flush=True)
    await asyncio.Event().wait()

worker.run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_process_gives_back_its_chunks_when_it_is_asked_to_stop(
    sync_client: JobClient, server: Server, kind: str, number: signal.Signals
):
    job = sync_client.create_job(kind).job
    command = [sys.executable, "-c", PROGRAM, server.target, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=BOUND)
    assert (process.returncode, output, errors) == (0, "stopped\n", "")
    chunk = sync_client.get_job(job.job_id).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 0)


DEAF = """
import asyncio, sys
from datetime import timedelta
from jobledger_client import Worker

worker = Worker(sys.argv[1], drain_timeout=timedelta(seconds=0.01), cancel_grace=timedelta(seconds=0.1))

@worker.handler(sys.argv[2])
async def handler(ctx):
    print("started", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue

worker.run()
print("stopped", flush=True)
"""


def test_a_worker_process_ends_though_a_handler_swallows_each_cancellation(
    sync_client: JobClient, server: Server, kind: str
):
    job = sync_client.create_job(kind).job
    command = [sys.executable, "-c", DEAF, server.target, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=BOUND)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "stopped\n")
    chunk = sync_client.get_job(job.job_id).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 0)
