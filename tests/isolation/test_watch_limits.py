"""Streams are bounded: nobody's watches, and no stranger's, take the room of others."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from jobledger_client import AsyncJobClient
from jobledger_service.settings import Settings
from jobledger_service.transport.public_calls import MAX_PER_CONNECTION, PublicStreams
from jobledger_service.transport.refusals import TooManyWatches

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import refused
from tests.support.server import Server

pytestmark = pytest.mark.one_store("streams are counted in the server")

Connect = Callable[[Server], Api]
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """Return a connection of its own, without a key."""
    async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def test_the_default_lets_ten_keys_open_ten_thousand_watches():
    settings = Settings()
    assert 10 * settings.watches_per_key >= 10_000
    assert settings.watches_without_keys >= 10_000


async def test_watches_have_a_bound_on_a_server_without_keys_too(
    start_server: StartServer, connect: Connect, kind: str
):
    api = connect(start_server(watches_without_keys="3"))
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await (await stack.enter_async_context(api.watch_jobs(kind))).message()
        with refused(EXHAUSTED, "TOO_MANY_WATCHES") as result:
            await api.watch_jobs(kind).message()
        assert (result.subjects, result.metadata) == (["owner:default"], {"limit": "3"})
        assert result.retry_delay > 0
        await api.create(kind)  # all else goes on


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
    streams = PublicStreams(max_streams=100, max_per_connection=1)
    with ExitStack() as stack:
        for port in range(100):
            stack.enter_context(streams.hold(f"ipv4:10.0.0.1:{port}"))
        with pytest.raises(TooManyWatches):
            stack.enter_context(streams.hold("ipv4:10.0.0.1:100"))
        for port in range(50):
            stack.enter_context(streams.hold(f"ipv4:10.0.0.2:{port}"))
        with pytest.raises(TooManyWatches):
            stack.enter_context(streams.hold("ipv4:10.0.0.2:50"))
    with streams.hold("ipv4:10.0.0.1:1"):
        pass
