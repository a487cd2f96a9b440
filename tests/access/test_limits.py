"""How much is allowed: rates, open watches, QUEUED jobs, bytes; a refusal says whose limit it is, and until when."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from fakeredis import TcpFakeServer
from jobledger.v1.job_service_pb2 import GetJobRequest, ListJobsRequest
from jobledger_client import JobClient, MessageTooLargeError, RateLimitedError
from jobledger_service.app import WrongSettingError, rates_of
from jobledger_service.settings import Settings
from limits.aio.storage.redis.bridge import RedisBridge
from redis import Redis

from tests.access.conftest import As
from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.errors import Refusal, read, refused
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
Connect = Callable[..., Api]


@pytest.fixture
def limited(start_server: StartServer, store: str, tmp_path: Path, as_holder: As) -> Callable[..., KeyedApi]:
    """Return a function that starts a server with keys and limits, and gives its admin's API."""

    def start(**settings: str) -> KeyedApi:
        database = new_database(store, tmp_path)
        token = first_key(database)
        return as_holder(start_server(database, auth="keys", **settings), token)

    return start


async def refusals(calls: list) -> list[Refusal]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [read(answer) for answer in answers if isinstance(answer, grpc.RpcError)]


async def test_a_key_calls_as_often_as_its_rate_and_no_other_is_touched(
    limited: Callable[..., KeyedApi], as_holder: As, connect: Connect, kind: str
):
    admin = limited(rate_limit_write="6/hour", rate_limit_read="1000/minute", rate_limit_watch="1/hour")
    made = await admin.make(CALLER, WORKER)
    api = as_holder(admin, made.token)
    said = await refusals([api.create(kind) for _ in range(10)])
    assert [(one.code, one.reason) for one in said] == [(EXHAUSTED, "RATE_LIMITED")] * 4
    for one in said:
        assert one.subjects == [f"key:{made.api_key.key_id}"]
        assert one.metadata == {"kind": "write", "limit": "6 in 3600 s"}
        assert 0 < one.retry_delay <= 3_600
    listed = await api.jobs.ListJobs(ListJobsRequest(filter={"kinds": [kind]}))
    assert listed.total_size == 6
    await api.watch_jobs(kind).message()
    with refused(EXHAUSTED, "RATE_LIMITED"):
        await api.watch_jobs(kind).message()
    with refused(EXHAUSTED, "RATE_LIMITED"):
        await api.claim(kind)
    other = as_holder(admin, (await admin.make(CALLER)).token)
    await other.create(kind)


async def test_the_sdk_waits_as_it_is_told_and_calls_again(start_server: StartServer):
    server = start_server(rate_limit_read="5/second")

    def read_on() -> float:
        with JobClient(server.target, timeout=20) as client:
            begun = time.monotonic()
            for _ in range(12):
                client.list_jobs().page()
            return time.monotonic() - begun

    assert 0.9 <= await asyncio.to_thread(read_on) < 15


async def test_an_error_of_the_sdk_says_when_to_come_back(start_server: StartServer):
    server = start_server(rate_limit_read="1/hour")

    def twice() -> RateLimitedError:
        with JobClient(server.target, timeout=1) as client:
            client.list_jobs().page()
            with pytest.raises(RateLimitedError) as caught:
                client.list_jobs().page()
            return caught.value

    error = await asyncio.to_thread(twice)
    assert error.retry_after is not None
    assert 1 < error.retry_after <= 3_600


async def test_open_watches_are_counted_by_key_and_by_owner(limited: Callable[..., KeyedApi], as_holder: As, kind: str):
    admin = limited(watches_per_key="2", watches_per_owner="3")
    made = [await admin.make(CALLER, owner="x"), await admin.make(CALLER, owner="x"), await admin.make(CALLER)]
    first, second, other = (as_holder(admin, one.token) for one in made)
    open_ones = [first.watch_jobs(kind), first.watch_jobs(kind), second.watch_jobs(kind), other.watch_jobs(kind)]
    for watch in open_ones:
        await watch.message()
    with refused(EXHAUSTED, "TOO_MANY_WATCHES") as said:
        await first.watch_jobs(kind).message()
    assert (said.subjects, said.metadata) == ([f"key:{made[0].api_key.key_id}"], {"limit": "2"})
    with refused(EXHAUSTED, "TOO_MANY_WATCHES") as said:
        await second.watch_jobs(kind).message()
    assert (said.subjects, said.metadata) == (["owner:x"], {"limit": "3"})
    assert said.retry_delay > 0
    open_ones[0].call.cancel()
    await until_let_in(lambda: second.watch_jobs(kind).message())


async def until_let_in(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call again and again while it is one too many."""
    while isinstance(answer := (await asyncio.gather(call(), return_exceptions=True))[0], grpc.aio.AioRpcError):
        assert answer.code() == EXHAUSTED


async def test_an_owner_has_no_more_queued_jobs_than_allowed(
    limited: Callable[..., KeyedApi], as_holder: As, kind: str
):
    admin = limited(queued_jobs_per_owner="10")
    api = as_holder(admin, (await admin.make(CALLER, WORKER, owner="x")).token)
    other = as_holder(admin, (await admin.make(CALLER, owner="y")).token)
    said = await refusals([api.create(kind) for _ in range(30)])
    assert [(one.code, one.reason, one.subjects, one.metadata) for one in said] == [
        (EXHAUSTED, "TOO_MANY_QUEUED_JOBS", ["owner:x"], {"limit": "10"})
    ] * 20
    assert all(one.retry_delay > 0 for one in said)
    await other.create(kind)
    await api.claim(kind)
    await until_let_in(lambda: api.create(kind))
    assert (await api.jobs.ListJobs(ListJobsRequest(filter={"kinds": [kind]}))).total_size == 11


@pytest.mark.parametrize(("limit", "settings"), [(4_194_304, {}), (100_000, {"message_limit": "100000"})])
async def test_a_request_has_no_more_bytes_than_allowed(
    start_server: StartServer, connect: Connect, limit: int, settings: dict
):
    server = start_server(**settings)
    api = connect(server)

    call = api.channel.unary_unary("/jobledger.v1.JobService/CreateJob")
    with refused(EXHAUSTED, "MESSAGE_TOO_LARGE") as said:
        await call(b"\x22" + _length(limit) + b"x" * limit)
    assert (said.metadata["limit"], said.retry_delay) == (str(limit), None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"x" * (2 * limit + 1))
    assert caught.value.code() == EXHAUSTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\x22" + _length(limit - 10) + b"x" * (limit - 10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    def once() -> None:
        with JobClient(server.target) as client, pytest.raises(MessageTooLargeError) as refusal:
            client.create_job("x", display_name="x" * limit)
        assert refusal.value.attempts == 1

    await asyncio.to_thread(once)


def _length(size: int) -> bytes:
    """Return a number as protobuf encodes lengths."""
    encoded = bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size])


@pytest.fixture
def redis() -> Iterator[str]:
    """Return the URL of a server that speaks Redis and, as it hangs up after any error, knows the scripts already."""
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with Redis(port=server.server_address[1]) as client:
        for name in (one for one in dir(RedisBridge) if one.startswith("SCRIPT_")):
            client.script_load(getattr(RedisBridge, name))
    yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_replicas_count_together_in_a_redis_and_go_on_without_it(
    tmp_path: Path, start_server: StartServer, connect: Connect, redis: str
):
    servers = [
        start_server(new_database("sqlite", tmp_path), rate_limit_read="6/hour", rate_limit_store=redis)
        for _ in range(2)
    ]
    apis = [connect(server) for server in servers]
    said = await refusals([api.jobs.ListJobs(ListJobsRequest()) for api in apis for _ in range(6)])
    assert [(one.code, one.reason) for one in said] == [(EXHAUSTED, "RATE_LIMITED")] * 6


async def test_without_its_redis_a_server_counts_nothing_and_refuses_nobody(
    start_server: StartServer, connect: Connect
):
    server = start_server(rate_limit_read="1/hour", rate_limit_store="redis://127.0.0.1:1/0")
    api = connect(server)
    assert await refusals([api.jobs.ListJobs(ListJobsRequest()) for _ in range(5)]) == []
    assert "the store of rates does not answer" in server.tail()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate_limit_read": "often"}, "often"),
        ({"rate_limit_write": "5/second", "rate_limit_store": "mysql://x"}, "mysql"),
    ],
)
def test_a_rate_that_is_none_is_refused(settings: dict[str, str], said: str):
    with pytest.raises(WrongSettingError, match=said):
        rates_of(Settings(**settings))


async def test_without_rates_nothing_is_counted(api: Api, kind: str):
    job = await api.create(kind)
    assert await refusals([api.jobs.GetJob(GetJobRequest(job_id=job.job_id)) for _ in range(300)]) == []
