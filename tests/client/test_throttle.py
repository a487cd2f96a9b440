"""What a client sends while the service refuses calls for overload: by the rules, and to a real server."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import LeaseReport, LeaseStatus
from jobledger_client import AsyncClock, AsyncJobClient, Backoff, JobledgerError, JobNotFoundError, QueueFullError
from jobledger_client._generated._errors import RateLimitedError, TooManyReadsError
from jobledger_client._throttle import MARGIN, NEVER_HELD_BACK, WINDOW_SECONDS, Throttle

from tests.client.controlled import Played
from tests.conftest import StartServer
from tests.operate.conftest import scrape, scrape_when
from tests.support.server import Server

CREATE = "/jobledger.v1.JobService/CreateJob"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
FULL = QueueFullError(
    "full", code=EXHAUSTED, reason="QUEUE_FULL", metadata={"bound": "age"}, retry_after=timedelta(seconds=3.0)
)
NEVER = 0.999
"""The sample of a call that is sent only if nearly all are."""


def called(throttle: Throttle, *, accepted: int, refused: int, now: float = 0.0) -> None:
    """Make calls that are sent, some of which are refused in the end."""
    for error in (*[None] * accepted, *[FULL] * refused):
        throttle.check("CreateJob", now, 0.0)
        throttle.record("CreateJob", now, error)


@pytest.mark.parametrize(
    ("accepted", "refused", "now"),
    [(100, 0, 0.0), (950, 50, 0.0), (0, 1, 3.0), (0, 1_000, 12.0)],
    ids=["no refusal", "a few among many accepted", "a lone caller waited for the delay", "seconds after the last"],
)
def test_every_call_is_sent_without_a_refusal_that_counts(accepted: int, refused: int, now: float):
    throttle = Throttle()
    called(throttle, accepted=accepted, refused=refused)
    assert throttle.check("CreateJob", now, NEVER) is None


def test_a_held_back_call_fails_as_the_refused_one_with_the_delay_that_is_left():
    throttle = Throttle()
    called(throttle, accepted=0, refused=10)
    error = throttle.check("CreateJob", 1.0, NEVER)
    assert type(error) is QueueFullError
    assert (error.code, error.reason, error.metadata) == (EXHAUSTED, "QUEUE_FULL", {"bound": "age"})
    assert error.retry_after == timedelta(seconds=2.0)
    assert error.message == "the client holds CreateJob back, because the service refused it for overload: full"


@pytest.mark.parametrize(("accepted", "refused"), [(0, 1), (0, 100), (20, 80), (50, 50), (80, 20)])
def test_as_many_calls_are_sent_as_are_accepted_and_a_tenth_more(accepted: int, refused: int):
    share = (MARGIN * accepted + 1) / (accepted + refused + 1)
    for sample, is_sent in ((share - 0.01, True), (share + 0.01, False)):
        throttle = Throttle()
        called(throttle, accepted=accepted, refused=refused)
        assert (throttle.check("CreateJob", 0.0, sample) is None) is is_sent


def test_held_back_calls_count_so_that_more_callers_send_no_more():
    throttle = Throttle()
    called(throttle, accepted=10, refused=10)
    sent = sum(throttle.check("CreateJob", 0.0, 0.5) is None for _ in range(1_000))
    assert sent == 3  # 12 of 21, of 22 and of 23 are more than a half


def test_when_the_delay_is_over_the_share_doubles_with_each_second():
    for now, times in ((3.0, 1), (4.0, 2), (5.0, 4)):
        share = times / (100 * math.exp(-now / WINDOW_SECONDS))
        for sample, is_sent in ((share - 0.001, True), (share + 0.001, False)):
            throttle = Throttle()
            called(throttle, accepted=0, refused=100)
            assert (throttle.check("CreateJob", now, sample) is None) is is_sent


def test_a_refusal_after_long_counts_again():
    throttle = Throttle()
    called(throttle, accepted=0, refused=1_000)
    throttle.record("CreateJob", 12.0, FULL)
    assert throttle.check("CreateJob", 12.0, NEVER) is not None
    assert throttle.check("CreateJob", 10_000.0, NEVER) is None


def test_while_it_recovers_a_held_back_call_is_to_wait_a_second():
    throttle = Throttle()
    called(throttle, accepted=0, refused=100)
    error = throttle.check("CreateJob", 3.5, NEVER)
    assert error is not None
    assert error.retry_after == timedelta(seconds=1.0)


def test_accepted_calls_let_more_through():
    throttle = Throttle()
    called(throttle, accepted=0, refused=10)
    assert throttle.check("CreateJob", 0.0, 0.9) is not None
    called(throttle, accepted=100, refused=0)
    assert throttle.check("CreateJob", 0.0, 0.9) is None


def test_what_is_long_ago_does_not_count():
    throttle = Throttle()
    called(throttle, accepted=1_000, refused=0)
    later = 10 * WINDOW_SECONDS
    called(throttle, accepted=0, refused=10, now=later)
    assert throttle.check("CreateJob", later, 0.2) is not None


def test_each_method_is_held_back_for_itself_and_reports_on_leases_never():
    throttle = Throttle()
    called(throttle, accepted=0, refused=100)
    assert throttle.check("CancelJob", 0.0, NEVER) is None
    for method in NEVER_HELD_BACK:
        for _ in range(100):
            throttle.record(method, 0.0, FULL)
            assert throttle.check(method, 0.0, NEVER) is None


@pytest.mark.parametrize(
    ("error", "holds_back"),
    [
        (TooManyReadsError("reads", code=EXHAUSTED, reason="TOO_MANY_READS", retry_after=timedelta(seconds=1.0)), True),
        (QueueFullError("no delay", code=EXHAUSTED, reason="QUEUE_FULL"), False),
        (RateLimitedError("rate", code=EXHAUSTED, reason="RATE_LIMITED", retry_after=timedelta(seconds=1.0)), False),
        (JobNotFoundError("none", code=grpc.StatusCode.NOT_FOUND, reason="JOB_NOT_FOUND"), False),
        (JobledgerError("gone", code=grpc.StatusCode.UNAVAILABLE), False),
    ],
)
def test_only_overload_with_a_delay_holds_calls_back(error: JobledgerError, *, holds_back: bool):
    throttle = Throttle()
    for _ in range(10):
        throttle.check("GetJob", 0.0, 0.0)
        throttle.record("GetJob", 0.0, error)
    assert (throttle.check("GetJob", 0.0, NEVER) is not None) is holds_back


def test_a_call_that_was_held_back_is_sent_after_the_delay(service: Played):
    refused = service.start(lambda client: client.cancel_job("one", timeout=timedelta(seconds=1)))
    service.refuse("CancelJob", EXHAUSTED, "QUEUE_FULL", retry_after=3.0)
    assert isinstance(refused.exception(), QueueFullError)
    got = service.start(lambda client: client.cancel_job("one"))
    service.answer("CancelJob", jobs.CancelJobResponse(job=Job(job_id="one")))
    assert got.result().job.job_id == "one"
    assert service.time.slept == pytest.approx([3.025])


def test_a_held_back_call_without_time_for_the_delay_fails_at_once_and_was_never_sent(service: Played):
    refused = service.start(lambda client: client.cancel_job("one", timeout=timedelta(seconds=1)))
    service.refuse("CancelJob", EXHAUSTED, "QUEUE_FULL", retry_after=3.0)
    assert isinstance(refused.exception(), QueueFullError)
    error = service.start(lambda client: client.cancel_job("one", timeout=timedelta(seconds=1))).exception()
    assert isinstance(error, QueueFullError)
    assert (error.attempts, error.retry_after) == (0, timedelta(seconds=3))
    assert len(service.channel.timeouts) == 1
    assert service.time.slept == []


def test_a_delay_beyond_what_the_backoff_permits_is_an_error_at_once():
    service = Played(backoff=Backoff(max_requested_wait=timedelta(seconds=2.0)), timeout=None)
    got = service.start(lambda client: client.cancel_job("one"))
    service.refuse("CancelJob", EXHAUSTED, "QUEUE_FULL", retry_after=2.5)
    error = got.exception()
    assert isinstance(error, QueueFullError)
    assert error.attempts == 1


class SetClock:
    """Time and chance that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sample = NEVER

    def clock(self) -> AsyncClock:
        return AsyncClock(monotonic=lambda: self.now, random=lambda: self.sample)


@asynccontextmanager
async def calls_of_the_owner_in_flight(server: Server, count: int) -> AsyncIterator[None]:
    """Begin CreateJob calls and never send their requests."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        held = [channel.stream_unary(CREATE)() for _ in range(count)]
        await asyncio.to_thread(scrape_when, server, lambda seen: seen.value("jobledger_calls_in_flight") == count)
        yield
        for call in held:
            call.cancel()
        await asyncio.to_thread(scrape_when, server, lambda seen: not seen.value("jobledger_calls_in_flight"))


async def create_all(client: AsyncJobClient, count: int) -> list[JobledgerError]:
    """Create jobs at the same time; return the errors."""
    ended = await asyncio.gather(*(client.create_job("throttled") for _ in range(count)), return_exceptions=True)
    assert all(isinstance(one, QueueFullError) for one in ended if isinstance(one, BaseException))
    return [one for one in ended if isinstance(one, JobledgerError)]


def arrived(server: Server) -> float:
    """Return how many CreateJob calls the server has seen."""
    return scrape(server).value("grpc_server_call_started_total", grpc_method=CREATE.removeprefix("/"))


@pytest.mark.guarantee("3b.3")
@pytest.mark.one_store("calls in flight are bounded in the server")
@pytest.mark.parametrize("throttle", [True, False])
async def test_an_overloaded_server_sees_probes_alone_and_reports_on_leases(
    start_server: StartServer, *, throttle: bool
):
    # Small messages, so that the held calls leave places to receive further requests.
    server = start_server(MAX_CALLS="8", message_limit="65536", metrics_listen="127.0.0.1:0")
    time = SetClock()
    at_once = Backoff(max_requested_wait=timedelta(seconds=0.0))
    async with AsyncJobClient(server.target, backoff=at_once, clock=time.clock(), throttle=throttle) as client:
        await client.create_job("throttled")
        [held] = await client.leases.claim_chunks(["throttled"], worker="w")
        async with calls_of_the_owner_in_flight(server, 6):
            first = await create_all(client, 10)
            assert [error.attempts for error in first] == [1] * 10
            seen = await asyncio.to_thread(arrived, server)

            further = await create_all(client, 50)
            assert [error.attempts for error in further] == [0 if throttle else 1] * 50
            assert await asyncio.to_thread(arrived, server) - seen == (0 if throttle else 50)

            time.sample = 0.0
            [probe] = await create_all(client, 1)
            assert probe.attempts == 1
            time.sample = NEVER
            [reported] = await client.leases.heartbeat([LeaseReport(lease_token=held.lease.token)])
            assert reported.status == LeaseStatus.LEASE_STATUS_OK
        time.now += 60
        assert await create_all(client, 3) == []
