"""Stop is heard at once: by a stream, whatever the interval of heartbeats, and by heartbeats alone without one."""

import asyncio
import logging
import threading
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import WatchLeasesResponse
from jobledger_client import AsyncJobClient, ChangeType, ChunkContext, EngineRunner, JobClient, JobState
from jobledger_client._worker._lease_watch import LeaseWatch
from jobledger_client._worker._leases import HeldLeases

from tests.client.conftest import Serving, Waits, changes
from tests.client.controlled import Played, SetTime
from tests.client.test_fencing import Holder
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

LONG = {"lease_duration": timedelta(hours=1), "heartbeat_interval": timedelta(minutes=30)}


@pytest.mark.guarantee("3c.4")
async def test_a_cancellation_reaches_handlers_that_send_no_heartbeats(
    client: AsyncJobClient, serving: Serving, kind: str
):
    loop = asyncio.get_running_loop()
    started = asyncio.Semaphore(0)
    stopped: list[str] = []

    async def handler(ctx: ChunkContext) -> None:
        started.release()
        await ctx.until_cancelled()
        stopped.append("async")

    def plain(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(started.release)
        stopped.extend(["plain"] * ctx.wait_cancelled(CALL_TIMEOUT))

    handlers = {kind: handler, f"{kind}.plain": plain}
    jobs = [(await client.create_job(one)).job.job_id for one in handlers]
    async with serving(handlers, cancel_grace=CALL_TIMEOUT, **LONG), asyncio.timeout(BOUND):
        for _ in jobs:
            await started.acquire()
        for job_id in jobs:
            await client.cancel_job(job_id)
        for job_id in jobs:
            assert (await client.wait(job_id, timeout=CALL_TIMEOUT)).state == JobState.CANCELLED
    assert sorted(stopped) == ["async", "plain"]


@pytest.mark.guarantee("3c.4")
@pytest.mark.parametrize("how", ["forced", "deleted"])
async def test_a_lease_that_is_taken_away_stops_a_handler_that_sends_no_heartbeats(
    client: AsyncJobClient, serving: Serving, kind: str, how: str
):
    handler = Waits()
    job_id = (await client.create_job(kind)).job.job_id
    async with serving({kind: handler}, **LONG), asyncio.timeout(BOUND):
        await handler.started.wait()
        await (client.cancel_job(job_id, force=True) if how == "forced" else client.delete_job(job_id, force=True))
        await handler.stopped.wait()
    assert not {ChangeType.CHUNK_RELEASED, ChangeType.CHUNK_FAILED} & {*await changes(client, job_id)}


def test_a_cancellation_reaches_the_process_of_an_engine(server: Server, sync_client: JobClient, kind: str):
    job_id, other = (sync_client.create_job(kind).job.job_id for _ in range(2))
    with (
        EngineRunner(server.target, **LONG) as runner,
        runner.attempt(job_id, task_id="a") as ctx,
        runner.attempt(other, task_id="b") as ctx_of_other,
    ):
        sync_client.cancel_job(job_id)
        assert ctx.wait_cancelled(CALL_TIMEOUT)
        assert not ctx_of_other.cancelled


class Stream:
    """A watch of leases whose service the test plays."""

    def __init__(self, service: Played) -> None:
        self.service = service
        self.leases = HeldLeases(30.0, 10.0, service.time.monotonic)
        self.watch = LeaseWatch(service.client.leases, self.leases, "worker-1", ["k"])

    def hold(self, name: str) -> Holder:
        holder = Holder(self.leases, name)
        self.leases.add(holder)
        return holder

    def due(self) -> list[str]:
        return [lease.holder.lease_token for lease in self.leases.due()]

    def play(self, code: grpc.StatusCode, *messages: WatchLeasesResponse) -> None:
        """Play one connection that ends with a code that passes, and refuse the one that follows it."""
        following = self.service.start(lambda _: self.watch.follow())
        request, stream = self.service.send("WatchLeases", *messages)
        assert (request.worker, list(request.kinds)) == ("worker-1", ["k"])
        stream.terminate((), code, "")
        assert self.service.refuse("WatchLeases", grpc.StatusCode.UNIMPLEMENTED) == request
        following.result(BOUND)

    def refuse(self, code: grpc.StatusCode) -> float:
        """Refuse the stream; return after how many seconds the watch tries again."""
        following = self.service.start(lambda _: self.watch.follow())
        self.service.refuse("WatchLeases", code)
        return following.result(BOUND)


@pytest.fixture
def stream(service: Played) -> Stream:
    """Return a watch of leases, with a lease of each of two jobs."""
    one = Stream(service)
    one.hold("a")
    one.hold("b")
    return one


def test_a_stream_that_begins_has_all_leases_checked_so_that_none_is_missed_over_a_reconnect(stream: Stream):
    assert stream.due() == []
    stream.play(grpc.StatusCode.UNAVAILABLE, WatchLeasesResponse(check_all=True))
    assert stream.due() == ["a", "b"]
    assert stream.service.time.slept == pytest.approx([0.075])


def test_only_the_leases_of_jobs_that_are_named_are_checked(stream: Stream):
    stream.play(grpc.StatusCode.OK, WatchLeasesResponse(), WatchLeasesResponse(job_ids=["job of b", "job of c"]))
    assert stream.due() == ["b"]


def test_a_lease_whose_claim_was_on_its_way_when_its_job_was_named_is_checked(stream: Stream):
    stream.play(grpc.StatusCode.OK, WatchLeasesResponse(job_ids=["job of c"]))
    stream.hold("c")
    stream.hold("d")
    assert stream.due() == ["c"]


def test_a_lease_that_is_named_while_a_heartbeat_is_on_its_way_stays_due(stream: Stream):
    [held] = [lease for lease in stream.leases._held.values() if lease.holder.lease_token == "a"]
    sent_at = stream.service.time.now
    stream.service.time.now += 1.0
    stream.leases.check(["job of a"])
    stream.leases.mark_extended(held, sent_at)
    assert stream.due() == ["a"]
    stream.leases.mark_extended(held, stream.service.time.now)
    assert stream.due() == []


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED])
def test_without_a_stream_heartbeats_continue_and_it_is_reported_once(
    stream: Stream, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "jobledger_client.worker"):
        assert stream.refuse(code) >= 60
        assert stream.refuse(code) >= 60
    assert len([record for record in caplog.records if "watch of leases" in record.message]) == 1
    stream.service.time.now += 10.0
    assert stream.due() == ["a", "b"]


def test_no_stream_is_opened_before_the_first_lease():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    opened = threading.Event()

    class Opening:
        def watch_leases(self, **_: object) -> list[WatchLeasesResponse]:
            opened.set()
            return []

    watching = threading.Thread(target=LeaseWatch(Opening(), leases, "worker-1", ["k"]).run)
    watching.start()
    assert not opened.is_set()
    leases.add(Holder(leases))
    assert opened.wait(BOUND)
    leases.close()
    watching.join(BOUND)
    assert not watching.is_alive()
