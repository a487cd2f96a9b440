"""Reflection and channelz are where the operator put them; the admin listener has what operators call and no more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2 as channelz
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from jobledger_service.cli.startup_checks import check_settings
from jobledger_service.settings import InvalidSettingError, Settings

from tests.conftest import QUICK
from tests.operate.conftest import Start, ask_health, lines
from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.errors import read, refused
from tests.support.foreign import buf_curl
from tests.support.keys import CALLER, KeyedApi, first_key
from tests.support.server import Server

CHANNELZ = "grpc.channelz.v1.Channelz"
OF_ADMINS = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "jobledger.v1.AdminService",
}
LOCAL = "127.0.0.1:0"
As = Callable[[str, str], KeyedApi]
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


def admin_target(server: Server) -> str:
    """Return where a server says that its admin listener is."""
    return lines(server, "admin")[-1]["address"]


def services(target: str) -> set[str]:
    """Return what reflection lists at an address."""
    with grpc.insecure_channel(target) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


def code_of(target: str, method: str) -> grpc.StatusCode:
    """Call a unary method with an empty message and return how it ended."""
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary(f"/{method}")(b"", timeout=BOUND)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def unreflected(target: str) -> bool:
    """Whether an address serves no reflection."""
    with pytest.raises(grpc.RpcError) as caught:
        services(target)
    return caught.value.code() == UNIMPLEMENTED


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Return a server with keys that has reflection and channelz on its admin listener, and the token of an admin."""
    directory = tmp_path_factory.mktemp("moved")
    database = new_database("sqlite", directory)
    token = first_key(database)
    settings = {"auth": "keys", "admin_listen": LOCAL, "reflection": "admin"}
    server = Server(database, directory, QUICK | settings).start()
    yield server, token
    assert server.stop() == 0
    assert server.defects() == []


@pytest.fixture
async def as_holder() -> AsyncIterator[As]:
    """Return a function that opens a channel to an address with a token; closed after the test."""
    opened: list[KeyedApi] = []

    def open_api(target: str, token: str) -> KeyedApi:
        opened.append(KeyedApi(target, token))
        return opened[-1]

    yield open_api
    for api in opened:
        await api.channel.close()


def test_what_was_moved_is_on_the_admin_listener_alone(moved: tuple[Server, str]):
    server, _ = moved
    assert services(admin_target(server)) == OF_ADMINS | {CHANNELZ}
    assert unreflected(server.target)
    assert code_of(server.target, f"{CHANNELZ}/GetServers") == UNIMPLEMENTED
    assert code_of(admin_target(server), "jobledger.v1.JobService/ListJobs") == UNIMPLEMENTED


async def test_a_foreign_client_finds_its_way_there(moved: tuple[Server, str]):
    server, token = moved
    key = ("--header", f"authorization: Bearer {token}")
    answer = await buf_curl(admin_target(server), f"{CHANNELZ}/GetServers", *key, data={})
    assert answer.code == 0, answer.err
    reported = answer.messages()[0]["server"]
    assert len(reported) == 2  # its two listeners
    answer = await buf_curl(admin_target(server), "jobledger.v1.AdminService/GetSystemHealth", *key, data={})
    assert answer.messages()[0]["health"]["status"] == "SYSTEM_STATUS_HEALTHY"


async def streams_of(requested: ChannelzStub, socket_id: int) -> int:
    """Return how many streams a connection has had; none when it is gone, as that of a test before may be."""
    try:
        socket = (await requested.GetSocket(channelz.GetSocketRequest(socket_id=socket_id))).socket
    except grpc.aio.AioRpcError as error:
        assert read(error).reason == "CONNECTION_NOT_FOUND"  # noqa: PT017 - it need not be raised
        return 0
    return socket.data.streams_started


async def test_channelz_lists_the_connections_of_callers(moved: tuple[Server, str], as_holder: As):
    server, token = moved
    await as_holder(server.target, token).list_jobs()
    requested = ChannelzStub(as_holder(admin_target(server), token).channel)
    served = (await requested.GetServers(channelz.GetServersRequest())).server
    counts = []
    for one in served:
        sockets = await requested.GetServerSockets(channelz.GetServerSocketsRequest(server_id=one.ref.server_id))
        started = [await streams_of(requested, ref.socket_id) for ref in sockets.socket_ref]
        counts.append(sum(streams >= 1 for streams in started))
    assert len(counts) == 2
    assert min(counts) >= 1
    with refused(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND"):
        await requested.GetSocket(channelz.GetSocketRequest(socket_id=2**60))


async def test_keys_and_roles_are_those_of_the_main_listener(moved: tuple[Server, str], as_holder: As):
    server, token = moved
    target, admin = admin_target(server), as_holder(admin_target(server), token)
    made = await admin.make(CALLER)
    await as_holder(server.target, made.token).list_jobs()
    caller = as_holder(target, made.token)
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await ChannelzStub(caller.channel).GetServers(channelz.GetServersRequest())
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await caller.make(CALLER)
    assert code_of(target, f"{CHANNELZ}/GetServers") == grpc.StatusCode.UNAUTHENTICATED
    assert (await ask_health(target, "--api-key", token)).exit_code == 0


def test_reflection_and_channelz_can_be_off_everywhere(start_sqlite: Start):
    server = start_sqlite(admin_listen=LOCAL, reflection="off", channelz="off")
    for target in (server.target, admin_target(server)):
        assert unreflected(target)
        assert code_of(target, f"{CHANNELZ}/GetServers") == UNIMPLEMENTED
        assert code_of(target, "jobledger.v1.AdminService/GetSystemHealth") == grpc.StatusCode.OK


def test_on_the_main_listener_they_are_on_the_admin_one_too(start_sqlite: Start):
    server = start_sqlite(admin_listen=LOCAL, channelz="main")
    assert services(server.target) > OF_ADMINS | {CHANNELZ, "jobledger.v1.JobService"}
    assert services(admin_target(server)) == OF_ADMINS | {CHANNELZ}
    for target in (server.target, admin_target(server)):
        assert code_of(target, f"{CHANNELZ}/GetServers") == grpc.StatusCode.OK


async def test_by_default_there_is_no_channelz(server: Server):
    assert CHANNELZ not in services(server.target)
    assert lines(server, "admin") == []


async def test_both_listeners_drain_together(start_sqlite: Start, connect: Callable[[Server], Api], kind: str):
    server = start_sqlite(admin_listen=LOCAL)
    api = connect(server)
    await api.create(kind)
    async with grpc.aio.insecure_channel(admin_target(server)) as channel, api.watch_jobs(kind) as watch:
        health = HealthStub(channel).Watch(HealthCheckRequest())
        assert (await health.read()).status == HealthCheckResponse.SERVING
        await watch.bookmark()
        server.terminate()
        assert (await health.read()).status == HealthCheckResponse.NOT_SERVING
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            await watch.until(lambda _: False)
        assert await asyncio.to_thread(server.wait) == 0
    assert server.defects() == []


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"admin_listen": "nonsense"}, "--admin-listen: value 'nonsense' must be HOST:PORT"),
        ({"admin_listen": "0.0.0.0:7071"}, "0.0.0.0:7071 is open to other hosts without authentication"),
        ({"admin_listen": "0.0.0.0:7071", "auth": "keys"}, "without TLS their API keys are sent unencrypted"),
        ({"reflection": "admin"}, "--reflection: admin requires --admin-listen"),
        (
            {"database": "postgresql://h/n", "processes": 4, "admin_listen": "127.0.0.1:65533"},
            "--admin-listen: 4 processes take as many ports",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_a_sentence(given: dict, result: str):
    with pytest.raises(InvalidSettingError, match=result):
        check_settings(Settings(**given))


def test_other_hosts_are_admitted_when_the_operator_insists():
    check_settings(Settings(admin_listen="0.0.0.0:7071", insecure=True))
