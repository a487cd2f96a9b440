"""Streams and claims are bounded: nobody's watches, and no stranger's, take the room of others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from typing import cast

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from jobledger.v1.worker_service_pb2 import WatchLeasesRequest
from jobledger_client import AsyncJobClient
from jobledger_service.core.opening import MAX_CLAIMS_WITHOUT_KEYS, MAX_WATCHES_WITHOUT_KEYS
from jobledger_service.settings import Settings
from jobledger_service.transport.limits.open_calls import MAX_PER_CONNECTION, PublicStreams
from jobledger_service.transport.refusals import TooManyWatches

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import read, refused
from tests.support.server import Server

pytestmark = pytest.mark.one_store("streams are counted in the server")

Connect = Callable[[Server], Api]
LONG = timedelta(minutes=5)
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """Return a connection of its own, without a key."""
    async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def test_the_default_lets_ten_keys_open_ten_thousand_watches_and_claims():
    settings = Settings()
    assert 10 * settings.watches_per_key >= 10_000
    assert MAX_WATCHES_WITHOUT_KEYS >= 10_000
    assert min(10 * settings.claims_per_key, MAX_CLAIMS_WITHOUT_KEYS) >= 10_000


async def test_watches_have_a_bound_on_a_server_without_keys_too(
    start_server: StartServer, connect: Connect, kind: str
):
    api = connect(start_server(MAX_WATCHES_WITHOUT_KEYS="3"))
    async with AsyncExitStack() as stack:
        leases = api.work.WatchLeases(WatchLeasesRequest(worker="w", kinds=[kind]))
        stack.callback(leases.cancel)
        assert (await leases.read()).check_all
        for _ in range(2):
            await (await stack.enter_async_context(api.watch_jobs(kind))).message()
        with refused(EXHAUSTED, "TOO_MANY_WATCHES") as result:
            await api.watch_jobs(kind).message()
        assert (result.subjects, result.metadata) == (["owner:default"], {"limit": "3"})
        assert result.retry_delay > 0
        await api.create(kind)  # all else goes on


async def test_claims_have_a_bound_on_a_server_without_keys_too(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server(MAX_CLAIMS_WITHOUT_KEYS="2"))
    waiting = [asyncio.ensure_future(api.claim(kind, wait=LONG)) for _ in range(3)]
    (refused_claim,), left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    refusal = read(cast("grpc.RpcError", refused_claim.exception()))
    assert (refusal.code, refusal.reason) == (EXHAUSTED, "TOO_MANY_CLAIMS")
    assert (refusal.subjects, refusal.metadata) == (["owner:default"], {"limit": "2"})
    assert refusal.retry_delay
    await api.create(kind, item_count=2, chunk_size=1)  # all else goes on
    assert [len(chunks) for chunks in await asyncio.gather(*left)] == [1, 1]
    assert await api.claim(kind) == []  # there is room again


async def test_a_connection_that_watches_health_too_often_is_refused_alone(
    stranger: grpc.aio.Channel, api: Api, server: Server, kind: str
):
    request = HealthCheckRequest(service="jobledger.v1.JobService")
    held = [HealthStub(stranger).Watch(request) for _ in range(MAX_PER_CONNECTION)]
    for one in held:
        assert (await one.read()).status == HealthCheckResponse.SERVING
    with refused(EXHAUSTED, "TOO_MANY_WATCHES") as result:
        await HealthStub(stranger).Watch(request).read()
    assert result.subjects == ["connection"]
    assert (await HealthStub(api.channel).Watch(request).read()).status == HealthCheckResponse.SERVING
    async with AsyncJobClient(server.target) as client:  # whose channel asks for the health too
        assert (await client.create_job(kind)).job.kind == kind


def test_a_host_that_takes_all_streams_leaves_other_hosts_their_share():
    streams = PublicStreams(max_streams=134, max_per_connection=1)
    with ExitStack() as stack:
        for port in range(100):
            stack.enter_context(streams.hold(f"ipv4:10.0.0.1:{port}"))
        with pytest.raises(TooManyWatches):
            stack.enter_context(streams.hold("ipv4:10.0.0.1:100"))
        for port in range(25):
            stack.enter_context(streams.hold(f"ipv4:10.0.0.2:{port}"))
        with pytest.raises(TooManyWatches):
            stack.enter_context(streams.hold("ipv4:10.0.0.2:25"))
        stack.enter_context(streams.hold("ipv4:10.0.0.3:0"))
    with streams.hold("ipv4:10.0.0.1:1"):
        pass
