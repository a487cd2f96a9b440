"""Overload of one owner is told to him at once, and costs another one nothing: neither an answer nor memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import LeaseStatus
from jobledger_service.core.api.errors import refused_by_core
from jobledger_service.core.model.refusals.limit_errors import QueueFull

from tests.conftest import StartServer
from tests.operate.conftest import scrape
from tests.support.databases import new_database
from tests.support.errors import Refusal, read
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server

pytestmark = pytest.mark.one_store("what waits is bounded in the server")

MIB = 1_048_576
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class Flood:
    """Calls of one owner, so many at a time, over and over."""

    def __init__(self) -> None:
        self.done: list[Job] = []
        self.refusals: list[Refusal] = []

    async def one(self, call: Awaitable[Job]) -> None:
        try:
            self.done.append(await call)
        except grpc.aio.AioRpcError as error:
            self.refusals.append(read(error))


@asynccontextmanager
async def flood_of(api: KeyedApi, width: int, **fields: object) -> AsyncIterator[Flood]:
    """Create jobs, `width` at a time, during the block, and once at least."""
    flood, stopping = Flood(), asyncio.Event()

    async def go() -> None:
        while not stopping.is_set():
            await asyncio.gather(*(flood.one(api.create("flood", **fields)) for _ in range(width)))

    going = asyncio.create_task(go())
    yield flood
    stopping.set()
    await going


@asynccontextmanager
async def two_owners(server: Server, token: str) -> AsyncIterator[tuple[KeyedApi, KeyedApi]]:
    """Yield the APIs of one owner and of another."""
    admin = KeyedApi(server.target, token)
    apis = [
        KeyedApi(server.target, (await admin.make(CALLER, WORKER, owner=owner)).token)
        for owner in ("flooding", "bystander")
    ]
    yield apis[0], apis[1]
    for api in (admin, *apis):
        await api.channel.close()


@pytest.fixture
def start_keyed(start_server: StartServer, store: str, tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Return a function that starts a server with keys, and returns it with an admin's token."""

    def start(**settings: str) -> tuple[Server, str]:
        database = new_database(store, tmp_path_factory.mktemp("keyed"))
        token = first_key(database)
        needed = {"auth": "keys", "metrics_listen": "127.0.0.1:0", "queue_wait": "1"}
        return start_server(database, **needed | settings), token

    return start


@pytest.mark.guarantee("3b.3")
@pytest.mark.long
async def test_who_floods_is_refused_first_and_another_owner_is_not(start_keyed: StartServer):
    server, token = start_keyed(MAX_QUEUED_COMMANDS="20")
    async with two_owners(server, token) as (flooding, bystander):
        health = health_pb2_grpc.HealthStub(bystander.channel)
        await flooding.create("held")
        [held] = await flooding.claim("held")
        async with flood_of(flooding, 200, item_count=20, chunk_size=1) as flood:
            for _ in range(10):
                job = await bystander.create("mine")
                assert (await bystander.get(job.job_id)).job_id == job.job_id
                assert (await flooding.report(held)).status == LeaseStatus.LEASE_STATUS_OK
                await health.Check(health_pb2.HealthCheckRequest())
    assert flood.done
    assert {(result.code, result.reason) for result in flood.refusals} == {(EXHAUSTED, "QUEUE_FULL")}
    assert all(result.retry_delay and result.retry_delay >= 1 for result in flood.refusals)
    counted = scrape(server)
    told = {bound: counted.value("jobledger_calls_refused_total", bound=bound) for bound in bounds(flood)}
    assert sum(told.values()) == len(flood.refusals)


def bounds(flood: Flood) -> set[str]:
    return {result.metadata["bound"] for result in flood.refusals}


@pytest.mark.guarantee("3b.2")
@pytest.mark.long
async def test_the_bytes_of_requests_in_flight_stay_below_the_setting(start_keyed: StartServer):
    limit = 16 * MIB
    server, token = start_keyed(memory_limit=str(limit))
    inputs = [{"item_count": 1, "input": {"a": "x" * 60_000}} for _ in range(30)]
    async with two_owners(server, token) as (flooding, bystander):
        async with flood_of(flooding, 30, chunks=inputs) as flood:
            seen = []
            for _ in range(5):
                await bystander.create("mine", input={"a": "x" * 60_000})
                seen.append(await asyncio.to_thread(lambda: scrape(server).value("jobledger_request_bytes")))
        assert max(seen) <= limit
        assert flood.done
        assert {(result.code, result.reason) for result in flood.refusals} <= {(EXHAUSTED, "QUEUE_FULL")}
        for gauge in ("jobledger_request_bytes", "jobledger_calls_in_flight"):  # a call is answered before it is over
            while (await asyncio.to_thread(scrape, server)).value(gauge):
                pass


async def test_calls_in_flight_are_bounded_by_owner(start_keyed: StartServer):
    server, token = start_keyed(MAX_CALLS="8")
    async with two_owners(server, token) as (flooding, bystander), flood_of(flooding, 100) as flood:
        for _ in range(10):
            await bystander.create("mine")
    assert flood.done
    assert "calls" in bounds(flood)


def test_refusals_for_overload_share_a_status_and_each_reports_its_own_bound_and_delay():
    def status(bound: str, micros: int) -> grpc.Status:
        refused = refused_by_core(QueueFull(bound, micros), lambda _: b"", lambda: False)
        assert refused is not None
        return refused.status

    assert status("age", 1_200_001) is status("age", 1_300_000)
    result = {
        (bound, micros): told(status(bound, micros)) for bound in ("age", "share") for micros in (1_000_000, 1_200_001)
    }
    assert result == {
        ("age", 1_000_000): ("age", 1.0),
        ("age", 1_200_001): ("age", 1.3),
        ("share", 1_000_000): ("share", 1.0),
        ("share", 1_200_001): ("share", 1.3),
    }


def told(status: grpc.Status) -> tuple[str, float]:
    """Return the bound and the delay that a status tells, the delay to gRPC's own retries too."""
    (_, raw), pushback = status.trailing_metadata
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    sent = status_pb2.Status.FromString(raw)
    assert sent.details[0].Unpack(info)
    assert sent.details[1].Unpack(retry)
    assert pushback == ("grpc-retry-pushback-ms", str(retry.retry_delay.ToMilliseconds()))
    return info.metadata["bound"], retry.retry_delay.ToTimedelta().total_seconds()
