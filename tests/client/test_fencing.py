"""Fencing: work stops when its lease is over by the worker's own clock, and a stale report changes nothing."""

import asyncio
import logging
import threading
from datetime import timedelta
from math import inf

import pytest
from jobledger.v1.worker_service_pb2 import HeartbeatResult, LeaseReport, LeaseStop, ProgressReport
from jobledger_client import AsyncJobClient, ChunkContext, LeaseStatus, Worker
from jobledger_client._worker._heartbeats import Heartbeats
from jobledger_client._worker._leases import HeldLeases
from jobledger_client._worker._pending import PendingReport
from jobledger_client._worker._watchdog import Watchdog

from tests.client.conftest import Serving
from tests.client.controlled import SetTime
from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the worker's own clock knows nothing of the store")

START = 1_700_000_000_000_000
SHORT = timedelta(seconds=4)  # and longer than a machine stalls between two heartbeats


class Holder:
    """A lease's holder that notes what it is told."""

    def __init__(self, leases: HeldLeases, name: str = "t") -> None:
        self.lease_token = name
        self.job_id = f"job of {name}"
        self.pending = PendingReport(has_plan=False, wake=leases.wake)
        self.heard: list[str] = []

    def cancel_requested(self, stop: LeaseStop) -> None:
        self.heard.append("cancel")

    def lease_lost(self, stop: LeaseStop) -> None:
        self.heard.append("lost")

    def lease_expired(self, silence_seconds: float) -> None:
        self.heard.append(f"over after {silence_seconds:g} s")

    def attempt_timed_out(self) -> None:
        self.heard.append("attempt over")

    def refused(self, error: object) -> None:
        self.heard.append(f"refused: {error}")


class Answering:
    """The service: answers OK, takes `seconds` of the set time for it.

    Each attempt began at START by its clock, and ends after `attempt_timeout`, as leases do that last for 30 s.
    """

    def __init__(self, time: SetTime, seconds: float = 0.0, attempt_timeout: float = inf) -> None:
        self.time = time
        self.seconds = seconds
        self.begin = time.now
        self.attempt_timeout = attempt_timeout
        self.calls: list[list[LeaseReport]] = []

    def heartbeat(self, reports: list[LeaseReport], **_: object) -> list[HeartbeatResult]:
        self.calls.append(list(reports))
        self.time.now += self.seconds
        result = HeartbeatResult(status=LeaseStatus.OK)
        lasts = min(self.time.now - self.begin + 30.0, self.attempt_timeout)
        result.expire_time.FromMicroseconds(START + round(lasts * 1_000_000))
        return [result for _ in reports]


@pytest.mark.guarantee("3c.3")
def test_a_lease_whose_handler_cannot_be_stopped_is_extended_no_longer(caplog: pytest.LogCaptureFixture):
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    bounded, other = Holder(leases, "bounded"), Holder(leases, "other")
    leases.add(bounded, 25.0)
    leases.add(other)
    service = Answering(time)
    for _ in range(3):
        time.now += 10.0
        Heartbeats(service, leases).beat()
        Watchdog(leases, None).check()
    Heartbeats(service, leases).beat()
    time.now += 10.0
    Heartbeats(service, leases).beat()
    assert [[one.lease_token for one in call] for call in service.calls] == [["bounded", "other"]] * 3 + [["other"]]
    assert (bounded.heard, other.heard) == ([], [])
    assert [one.message.partition("; ")[2] for one in caplog.records] == ["its lease is no longer extended"]


@pytest.mark.guarantee("3c.5")
def test_a_lease_is_over_its_duration_after_the_call_that_extended_it_was_sent():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    holder, watchdog = Holder(leases), Watchdog(leases, None)
    leases.add(holder)
    time.now += 10.0
    Heartbeats(Answering(time, seconds=4.0), leases).beat()  # the answer comes at 14 s, to what was sent at 10 s
    time.now += 25.9
    watchdog.check()
    assert (holder.heard, leases.seconds_until_expiry(60.0)) == ([], pytest.approx(0.1))
    time.now += 0.1
    watchdog.check()
    assert holder.heard == ["over after 30 s"]
    watchdog.check()
    assert holder.heard == ["over after 30 s"]  # once
    assert leases.due() == []


@pytest.mark.guarantee("3c.8")
@pytest.mark.parametrize("answers_after", [0.0, 0.4])
def test_a_lease_ends_with_its_attempt_by_the_workers_clock_whatever_its_heartbeats_say(answers_after: float):
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    holder, other, watchdog = Holder(leases), Holder(leases, "other"), Watchdog(leases, None)
    leases.add(holder, granted=(START, START + 30_000_000))
    leases.add(other)
    service = Answering(time, answers_after, attempt_timeout=45.0)
    begin = time.now
    for _ in range(4):
        time.now += 10.0 - answers_after
        Heartbeats(service, leases).beat()
        watchdog.check()
    assert (holder.heard, leases.seconds_until_expiry(60.0)) == ([], pytest.approx(begin + 45.0 - time.now))
    time.now = begin + 45.0
    watchdog.check()
    assert (holder.heard, other.heard) == (["attempt over"], [])


def test_a_lease_may_be_shorter_than_asked_for_from_its_claim_on():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    holder = Holder(leases)
    leases.add(holder, granted=(START, START + 5_000_000))
    time.now += 4.9
    Watchdog(leases, None).check()
    assert holder.heard == []
    time.now += 0.1
    Watchdog(leases, None).check()
    assert holder.heard == ["attempt over"]


def test_a_lease_that_nobody_extends_is_over_by_silence_though_the_service_named_its_end():
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)
    holder = Holder(leases)
    leases.add(holder, granted=(START, START + 30_000_000))
    service = Answering(time)
    time.now += 10.0
    Heartbeats(service, leases).beat()
    time.now += 30.0
    Watchdog(leases, None).check()
    assert holder.heard == ["over after 30 s"]


def test_the_interval_between_heartbeats_can_be_set():
    time = SetTime()
    leases = HeldLeases(30.0, 0.25, time.monotonic)
    leases.add(Holder(leases))
    assert leases.due() == []
    time.now += 0.25
    assert [lease.holder.lease_token for lease in leases.due()] == ["t"]


@pytest.mark.parametrize("seconds", [0, -1, 15.1, 29.9, 30, 31])
def test_an_interval_that_would_lose_the_lease_is_refused(seconds: float):
    message = "heartbeat_interval must be more than 0 s and at most half of lease_duration, 15 s"
    with pytest.raises(ValueError, match=message):
        Worker("127.0.0.1:1", heartbeat_interval=timedelta(seconds=seconds))


@pytest.mark.guarantee("3c.4")
async def test_work_stops_when_the_server_is_not_reached_for_a_lease(
    start_server: StartServer, serving: Serving, kind: str, caplog: pytest.LogCaptureFixture
):
    server = start_server()
    loop = asyncio.get_running_loop()
    started, stopped = asyncio.Semaphore(0), asyncio.Semaphore(0)
    cancelled: list[str] = []

    async def handler(ctx: ChunkContext) -> None:
        started.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.extend(["async"] * ctx.cancelled)
            stopped.release()
            raise

    def plain(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(started.release)
        cancelled.extend(["plain"] * ctx.wait_cancelled(CALL_TIMEOUT))
        loop.call_soon_threadsafe(stopped.release)

    handlers = {f"{kind}.async": handler, f"{kind}.plain": plain}
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        for one in handlers:
            await client.create_job(one)
    async with serving(handlers, target=server.target, lease_duration=SHORT):
        for _ in handlers:
            await started.acquire()
        await asyncio.to_thread(server.kill)
        for _ in handlers:
            await stopped.acquire()
    assert sorted(cancelled) == ["async", "plain"]
    assert sum("has expired: the service was unreachable for" in message for message in caplog.messages) == 2


async def test_work_stops_by_the_workers_clock_while_its_loop_is_blocked(
    start_server: StartServer, serving: Serving, kind: str
):
    server = start_server()
    heard: list[bool] = []
    blocked = threading.Event()
    ended = asyncio.Event()

    async def blocking(ctx: ChunkContext) -> None:
        blocked.set()
        heard.append(ctx.wait_cancelled(CALL_TIMEOUT))  # on the loop: nothing of it runs meanwhile
        ended.set()

    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        await client.create_job(kind)
    killing = threading.Thread(target=lambda: (blocked.wait(BOUND), server.kill()))
    killing.start()
    async with serving({kind: blocking}, target=server.target, lease_duration=timedelta(seconds=1)):
        await ended.wait()
    killing.join(BOUND)
    assert heard == [True]


def test_a_watchdog_and_heartbeats_outlive_an_error_of_their_own(caplog: pytest.LogCaptureFixture):
    time = SetTime()
    leases = HeldLeases(30.0, 10.0, time.monotonic)

    class Broken(Answering):
        def heartbeat(self, reports: list[LeaseReport], **_: object) -> list[HeartbeatResult]:
            leases.close()  # after this round there is none
            raise RuntimeError("metadata cannot be read")

    holder = Holder(leases)
    leases.add(holder)
    holder.pending.add_progress(ProgressReport(percent=1))
    with caplog.at_level(logging.ERROR):
        Heartbeats(Broken(time), leases).run()
    assert holder.heard == []
