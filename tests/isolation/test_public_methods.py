"""What needs no key is behind the same handler as everything else: nothing that comes there harms, fills or tells."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from jobledger_service.core.current_call import begin_call
from jobledger_service.transport.grpc_services import HEALTH_METHODS
from jobledger_service.transport.limits.in_flight import (
    MAX_PUBLIC_BYTES,
    MAX_PUBLIC_CALLS,
    MAX_PUBLIC_RECEIVING,
    InFlight,
)

from tests.operate.conftest import lines
from tests.support.errors import read, refused
from tests.support.keys import KeyedApi
from tests.support.tenants import Shared, shared_server

RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
MALFORMED = [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 200]
STRANGERS = 200
MIB = 2**20
HEALTH, REFLECTION = "/grpc.health.v1.Health", "/grpc.reflection.v1.ServerReflection"
REFLECTION_V1ALPHA = "/grpc.reflection.v1alpha.ServerReflection"
CHANNELZ = "/grpc.channelz.v1.Channelz"
Send = Callable[[grpc.aio.Channel, bytes], object]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    # The store has no part in it.
    with shared_server("sqlite", tmp_path_factory.mktemp("public"), channelz="main") as opened:
        yield opened


@pytest.fixture
async def channel(shared: Shared) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(shared.server.target) as opened:
        yield opened


@pytest.fixture
async def bystander(shared: Shared) -> AsyncIterator[KeyedApi]:
    async with shared.tenant("bob") as api:
        yield api


async def check(channel: grpc.aio.Channel, raw: bytes) -> None:
    await channel.unary_unary(f"{HEALTH}/Check")(raw)


async def watch(channel: grpc.aio.Channel, raw: bytes) -> None:
    assert await channel.unary_stream(f"{HEALTH}/Watch")(raw).read()


async def reflect(channel: grpc.aio.Channel, raw: bytes, service: str = REFLECTION) -> list[bytes]:
    return [reply async for reply in channel.stream_stream(f"{service}/ServerReflectionInfo")(iter([raw]))]


async def reflect_v1alpha(channel: grpc.aio.Channel, raw: bytes) -> list[bytes]:
    return await reflect(channel, raw, REFLECTION_V1ALPHA)


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("send", [check, watch, reflect, reflect_v1alpha])
async def test_bytes_that_are_no_message_are_invalid_and_reveal_nothing(
    channel: grpc.aio.Channel, send: Send, raw: bytes
):
    with refused(INVALID_ARGUMENT, "INVALID_FIELD", "request"):
        await send(channel, raw)


@pytest.mark.parametrize("size", [MAX_PUBLIC_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("send", [check, watch, reflect, reflect_v1alpha])
async def test_a_request_without_a_key_is_small(channel: grpc.aio.Channel, send: Send, size: int):
    for raw in (b"\xff" * size, HealthCheckRequest(service="x" * size).SerializeToString()):
        with refused(RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as result:
            await send(channel, raw)
        assert result.metadata == {"size": str(len(raw)), "limit": str(MAX_PUBLIC_BYTES)}


@pytest.mark.guarantee("3b.1")
@pytest.mark.parametrize("method", [f"{HEALTH}/Check", f"{HEALTH}/Watch"])
async def test_a_request_without_a_key_that_never_comes_keeps_no_other_from_its_answer(
    shared: Shared, channel: grpc.aio.Channel, method: str
):
    silent = [channel.stream_stream(method)() for _ in range(MAX_PUBLIC_RECEIVING)]
    await channel.channel_ready()
    async with grpc.aio.insecure_channel(shared.server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as own:
        assert (await HealthStub(own).Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        assert (await HealthStub(own).Watch(HealthCheckRequest()).read()).status == HealthCheckResponse.SERVING
        for call in silent:
            call.cancel()


def test_who_sends_most_without_a_key_is_refused_first():
    in_flight = InFlight(100, 16 * MIB, MIB, lambda _: None, begin_call, 1.0)
    calls = in_flight.shares_of(HEALTH_METHODS[0])
    assert calls is not None

    def flood(peer: str) -> int:
        held = 0
        while calls.try_add(peer, 1, reserved=False):
            held += 1
        return held

    assert flood("ipv4:10.0.0.1:1") == MAX_PUBLIC_CALLS * 3 // 4
    assert 0 < flood("ipv4:10.0.0.1:2") < MAX_PUBLIC_CALLS // 4
    assert flood("ipv4:10.0.0.1:1") == 0
    assert flood("ipv4:10.0.0.1:3") > 0
    assert in_flight.calls == 0, "a public call takes the place of an owner's"


@pytest.mark.guarantee("3b.1")
async def test_too_many_calls_without_a_key_are_refused_at_once_and_another_connection_is_not(shared: Shared):
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(shared.server.target, options=own) as flooding,
        grpc.aio.insecure_channel(shared.server.target, options=own) as other,
    ):
        silent = [flooding.stream_stream(f"{HEALTH}/Check")() for _ in range(MAX_PUBLIC_CALLS)]
        with refused(RESOURCE_EXHAUSTED, "QUEUE_FULL") as result:
            await silent[-1].read()
        assert result.metadata["bound"] == "public_calls"
        assert result.retry_delay
        assert (await HealthStub(other).Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        for call in silent:
            call.cancel()


@pytest.mark.parametrize("raw", [b"", *MALFORMED], ids=range(len(MALFORMED) + 1))
async def test_channelz_asks_for_the_key_before_it_reads(channel: grpc.aio.Channel, raw: bytes):
    with refused(grpc.StatusCode.UNAUTHENTICATED, "API_KEY_MISSING"):
        await channel.unary_unary(f"{CHANNELZ}/GetServers")(raw)


async def test_a_method_that_there_is_not_is_unimplemented(channel: grpc.aio.Channel):
    for path in (f"{HEALTH}/Lost", f"{REFLECTION}/Lost", f"{CHANNELZ}/Lost", "/nothing/Lost"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_there_is_not_has_no_health(channel: grpc.aio.Channel):
    with refused(grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND") as result:
        await HealthStub(channel).Check(HealthCheckRequest(service="x" * 4_000))
    assert len(result.metadata["service"]) == 128
    call = HealthStub(channel).Watch(HealthCheckRequest(service="nothing"))
    assert (await call.read()).status == HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("ask", [reflect, reflect_v1alpha])
async def test_both_versions_of_reflection_list_and_describe_both(channel: grpc.aio.Channel, ask: Send):
    names = {service.removeprefix("/") for service in (REFLECTION, REFLECTION_V1ALPHA)}
    [listed] = await ask(channel, ServerReflectionRequest(list_services="*").SerializeToString())
    services = ServerReflectionResponse.FromString(listed).list_services_response.service
    assert {one.name for one in services} >= names
    for name in names:
        [reply] = await ask(channel, ServerReflectionRequest(file_containing_symbol=name).SerializeToString())
        [raw] = ServerReflectionResponse.FromString(reply).file_descriptor_response.file_descriptor_proto
        file = FileDescriptorProto.FromString(raw)
        assert f"{file.package}.{file.service[0].name}" == name


async def test_reflection_answers_what_it_does_not_know_by_name(channel: grpc.aio.Channel):
    requested = [
        ServerReflectionRequest(file_by_filename="\x00"),
        ServerReflectionRequest(file_containing_symbol="x" * 4_000),
        ServerReflectionRequest(all_extension_numbers_of_type="\U0010ffff"),
        ServerReflectionRequest(
            file_containing_extension={"containing_type": "google.protobuf.FieldOptions", "extension_number": -(2**31)}
        ),
        ServerReflectionRequest(),
    ]
    call = ServerReflectionStub(channel).ServerReflectionInfo(iter(requested))
    answers = [answer async for answer in call]
    assert [answer.WhichOneof("message_response") for answer in answers] == ["error_response"] * len(requested)


@pytest.mark.guarantee("3b.1")
async def test_strangers_fill_no_log_and_cost_nobody_a_call(
    shared: Shared, channel: grpc.aio.Channel, bystander: KeyedApi, kind: str
):
    def told() -> list[dict]:
        return lines(shared.server, "refused without a key")

    async def stranger(number: int) -> str:
        path = "/jobledger.v1.JobService/ListJobs" if number % 2 else f"{HEALTH}/Check"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"\xff", metadata=(("authorization", f"Bearer {number}"),))
        return read(caught.value).reason

    async def owner() -> int:
        for _ in range(20):
            await bystander.create(kind)
        return len((await bystander.list_jobs(filter={"kinds": [kind]}, page_size=50)).jobs)

    before, refused_before = len(told()), len(lines(shared.server, "refused"))
    *reasons, jobs = await asyncio.gather(*map(stranger, range(STRANGERS)), owner())
    assert reasons == ["INVALID_FIELD", "API_KEY_UNKNOWN"] * (STRANGERS // 2)
    assert jobs == 20
    assert len(told()) - before <= 2  # the first of a minute, and at most one minute that ends within the test
    assert len(lines(shared.server, "refused")) == refused_before


def test_what_was_refused_is_summed_up_by_method_and_reason(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("summed")
    with shared_server("sqlite", directory) as opened:
        server = opened.server
        with grpc.insecure_channel(server.target) as channel:
            for _ in range(5):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary("/jobledger.v1.JobService/ListJobs")(b"")
        server.stop()
        told = lines(server, "refused without a key")
    sums = [refusal for line in told for refusal in line["refusals"]]
    assert sum(line["calls"] for line in told) == 5
    assert {(one["method"], one["code"], one["reason"]) for one in sums} == {
        ("jobledger.v1.JobService.ListJobs", "UNAUTHENTICATED", "API_KEY_MISSING")
    }
