"""How much is allowed: rates, open watches, bytes; a refusal says whose limit it is, and until when."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from jobledger_client import JobClient, MessageTooLargeError, RateLimitedError
from jobledger_service.listeners import rate_limiter_of
from jobledger_service.settings import InvalidSettingError, Settings

from tests.access.conftest import As
from tests.celery.conftest import Broker, broker_of_its_own
from tests.conftest import QUICK, StartServer
from tests.operate.conftest import ask_health, lines
from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.databases import new_database
from tests.support.errors import Refusal, invalid, read, refused
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server

pytestmark = pytest.mark.one_store("calls, watches and bytes are counted in the server")

LIMITS = {
    "rate_limit_read": "5/second",
    "rate_limit_write": "30/day",
    "rate_limit_watch": "6/day",
    "watches_per_key": "2",
    "watches_per_owner": "3",
    "claims_per_key": "2",
    "message_limit": "100000",
}
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
Connect = Callable[..., Api]
LOST = "the rate limit store does not answer: this server counts only its own calls"
FOUND = "the rate limit store answers again: calls are counted across servers"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Return a server with keys and limits, and the token of an admin."""
    directory = tmp_path_factory.mktemp("limited")
    database = new_database("sqlite", directory)
    token = first_key(database)
    server = Server(database, directory, QUICK | {"auth": "keys"} | LIMITS).start()
    yield server, token
    assert server.stop() == 0
    assert server.defects() == []


@pytest.fixture
def admin(limited: tuple[Server, str], as_holder: As) -> KeyedApi:
    """Return the API of the limited server as its admin calls it."""
    return as_holder(*limited)


async def refusals(calls: list) -> list[Refusal]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [read(answer) for answer in answers if isinstance(answer, grpc.RpcError)]


async def test_a_key_calls_as_often_as_its_rate_and_no_other_is_touched(admin: KeyedApi, as_holder: As, kind: str):
    made = await admin.make(CALLER, WORKER)
    api = as_holder(admin, made.token)
    result = await refusals([api.create(kind) for _ in range(35)])
    assert [(one.code, one.reason) for one in result] == [(EXHAUSTED, "RATE_LIMITED")] * 5
    for one in result:
        assert one.subjects == [f"key:{made.api_key.key_id}"]
        assert one.metadata == {"kind": "write", "limit": "30 in 86400 s"}
        assert 0 < one.retry_delay <= 2_880  # until the next of 30 tokens
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 30
    with refused(EXHAUSTED, "RATE_LIMITED"):
        await api.claim(kind)
    for _ in range(6):
        async with api.watch_jobs(kind) as watch:
            await watch.message()
    with refused(EXHAUSTED, "RATE_LIMITED") as refusal:
        await api.watch_jobs(kind).message()
    assert refusal.metadata["kind"] == "watch"
    await as_holder(admin, (await admin.make(CALLER)).token).create(kind)


async def test_the_sdk_waits_as_long_as_the_refusal_asks_and_calls_again(admin: KeyedApi):
    token = (await admin.make(CALLER)).token

    def read_on() -> float:
        with JobClient(admin.target, api_key=token, timeout=CALL_TIMEOUT) as client:
            begun = time.monotonic()
            for _ in range(12):
                client.list_jobs().page()
            return time.monotonic() - begun

    assert await asyncio.to_thread(read_on) >= 1.4  # 5 at once, and 7 that come at 5 a second


async def test_an_error_of_the_sdk_reports_when_to_come_back(admin: KeyedApi, as_holder: As, kind: str):
    token = (await admin.make(CALLER)).token
    assert await refusals([as_holder(admin, token).create(kind) for _ in range(30)]) == []

    def once_more() -> RateLimitedError:
        with (
            JobClient(admin.target, api_key=token, timeout=timedelta(seconds=20)) as client,
            pytest.raises(RateLimitedError) as caught,
        ):
            client.create_job(kind)
        return caught.value

    error = await asyncio.to_thread(once_more)
    assert error.retry_after is not None
    assert timedelta(seconds=1) < error.retry_after <= timedelta(days=1)


async def test_open_watches_are_counted_by_key_and_by_owner(admin: KeyedApi, as_holder: As, kind: str):
    made = [await admin.make(CALLER, owner="x"), await admin.make(CALLER, owner="x"), await admin.make(CALLER)]
    first, second, other = (as_holder(admin, one.token) for one in made)
    job = await first.create(kind)
    ending = first.watch_job(job.job_id)
    for watch in (ending, first.watch_jobs(kind), second.watch_jobs(kind), other.watch_jobs(kind)):
        await watch.message()
    with refused(EXHAUSTED, "TOO_MANY_WATCHES") as result:
        await first.watch_jobs(kind).message()
    assert (result.subjects, result.metadata) == ([f"key:{made[0].api_key.key_id}"], {"limit": "2"})
    with refused(EXHAUSTED, "QUOTA_EXCEEDED") as result:
        await second.watch_jobs(kind).message()
    assert (result.subjects, result.quotas) == (["owner:x"], [("max_watches", 3)])
    assert result.retry_delay > 0
    await first.cancel(job.job_id)
    await ending.rest()
    await second.watch_jobs(kind).message()


@pytest.mark.guarantee("3b.3")
async def test_claims_are_counted_by_key(admin: KeyedApi, as_holder: As, kind: str):
    made = [await admin.make(CALLER, WORKER, owner="y") for _ in range(2)]
    first, second = (as_holder(admin, one.token) for one in made)
    waiting = [asyncio.ensure_future(first.claim(kind, wait=timedelta(minutes=5))) for _ in range(3)]
    (refusal,), left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    result = read(refusal.exception())
    assert (result.reason, result.subjects) == ("TOO_MANY_CLAIMS", [f"key:{made[0].api_key.key_id}"])
    assert await second.claim(fresh_kind()) == []  # other keys claim
    job = await first.create(kind)
    (done,), _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
    assert [one.job_id for one in done.result()] == [job.job_id]
    assert await first.claim(fresh_kind()) == []  # there is room again


async def test_a_wait_for_an_operation_is_an_open_watch(admin: KeyedApi, as_holder: As, kind: str):
    api = as_holder(admin, (await admin.make(CALLER, owner="waiting")).token)
    job = await api.create(kind)
    operations = lro.OperationsStub(api.channel)
    wait = lro.WaitOperationRequest(name=f"operations/{job.job_id}")
    waits = [asyncio.ensure_future(operations.WaitOperation(wait)) for _ in range(3)]
    (refusal,), waiting = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    assert read(refusal.exception()).reason == "TOO_MANY_WATCHES"
    await api.cancel(job.job_id)
    assert [(await one).done for one in waiting] == [True, True]
    assert (await operations.WaitOperation(wait)).done  # there is room again


async def too_large(api: Api, limit: int) -> None:
    """Hold that a request has no more bytes than a limit, and that one far larger is not read at all."""
    call = api.channel.unary_unary("/jobledger.v1.JobService/CreateJob")
    with refused(EXHAUSTED, "MESSAGE_TOO_LARGE") as result:
        await call(display_name(limit))
    assert (result.metadata["limit"], result.retry_delay, len(result.subjects)) == (str(limit), None, 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"x" * (2 * limit + 1))
    assert caught.value.code() == EXHAUSTED
    with invalid("display_name", "kind"):
        await call(display_name(limit - 10))


def display_name(size: int) -> bytes:
    return CreateJobRequest(display_name="x" * size).SerializeToString()


async def test_a_request_has_no_more_bytes_than_allowed(api: Api, admin: KeyedApi, as_holder: As):
    await too_large(api, 4_194_304)
    made = await admin.make(CALLER)
    await too_large(as_holder(admin, made.token), 100_000)

    def once() -> MessageTooLargeError:
        with JobClient(admin.target, api_key=made.token) as client, pytest.raises(MessageTooLargeError) as caught:
            client.create_job("x", display_name="x" * 100_000)
        return caught.value

    assert (await asyncio.to_thread(once)).attempts == 1


@pytest.fixture
def redis() -> Iterator[Broker]:
    with broker_of_its_own() as one:
        yield one


async def healthy(server: Server) -> None:
    """Ask for the health until it is good."""
    while (await ask_health(server.target)).exit_code:
        pass


@pytest.mark.long  # a store of rates goes away and comes back
async def test_two_servers_share_one_bucket_and_count_alone_while_there_is_invalid(
    start_server: StartServer, connect: Connect, redis: Broker, kind: str
):
    patient = f"{redis.url}?socket_timeout={BOUND}&socket_connect_timeout={BOUND}"
    settings = {"rate_limit_write": "6/day", "rate_limit_store": patient}
    servers = [start_server(**settings) for _ in range(2)]
    apis = [connect(server) for server in servers]

    async def refused_of(calls: int) -> list[str]:
        result = await refusals([api.create(kind) for api in apis for _ in range(calls)])
        return [one.reason for one in result]

    assert await refused_of(6) == ["RATE_LIMITED"] * 6
    redis.kill()
    assert await refused_of(8) == ["RATE_LIMITED"] * 4  # 6 of 8 at each
    for server in servers:
        assert (await ask_health(server.target)).exit_code == 1
    redis.start()  # with an empty bucket
    for server in servers:
        await healthy(server)
    assert await refused_of(6) == ["RATE_LIMITED"] * 6
    for server in servers:
        assert [len(lines(server, event)) for event in (LOST, FOUND)] == [1, 1]
        assert server.stop() == 0
        assert server.defects() == []


@pytest.mark.long  # a store of rates hangs
async def test_a_store_that_hangs_delays_no_call_for_long_and_degrades_the_server(
    start_server: StartServer, connect: Connect, redis: Broker, kind: str
):
    server = start_server(rate_limit_write="6/day", rate_limit_store=redis.url, MEASURE_SECONDS="600")
    api = connect(server)
    await api.create(kind)
    assert "rate limit store: works" in (await ask_health(server.target)).stdout
    redis.suspend()
    async with asyncio.timeout(BOUND):  # of which half a second is for the store
        for _ in range(5):
            await api.create(kind)
    reported = await ask_health(server.target)
    assert (reported.exit_code, reported.stdout.splitlines()[0]) == (1, "degraded")
    assert "rate limit store: it does not answer: this server counts only its own calls" in reported.stdout
    redis.resume()
    await healthy(server)


@pytest.mark.parametrize(
    ("settings", "result"),
    [
        ({"rate_limit_read": "often"}, "often"),
        ({"rate_limit_watch": "9/minute; 0/second"}, "must allow at least 1 call"),
        ({"rate_limit_watch": "9/minute; 1/300 year"}, "at most ten years"),
        ({"rate_limit_write": "5/second", "rate_limit_store": "mysql://x"}, "mysql"),
        ({"rate_limit_write": "5/second", "rate_limit_store": "memory://"}, "'memory' is not redis"),
    ],
)
def test_a_rate_that_is_invalid_is_refused(settings: dict[str, str], result: str):
    with pytest.raises(InvalidSettingError, match=result):
        rate_limiter_of(Settings(**settings))


async def test_without_rates_nothing_is_counted(api: Api, kind: str):
    job = await api.create(kind)
    assert await refusals([api.jobs.GetJob(GetJobRequest(job_id=job.job_id)) for _ in range(300)]) == []
