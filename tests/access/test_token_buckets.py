"""Token buckets in memory, by a clock that the tests set, and in a Redis, by its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import accumulate, combinations
from pathlib import Path
from types import NoneType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.transport.identity import Caller
from jobledger_service.transport.limits.rate_limiter import RateLimiter
from jobledger_service.transport.limits.token_buckets import (
    CLEANUP_NANOS,
    NANOS_PER_SECOND,
    MemoryBuckets,
    RedisBuckets,
    take,
)
from jobledger_service.transport.methods import Kind
from jobledger_service.transport.refusals import RateLimited
from limits import RateLimitItem, parse, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.errors import StorageError
from redis import Redis

from tests.celery.conftest import Broker, broker_of_its_own
from tests.support.api import fresh_kind
from tests.support.bounds import BOUND

DAY = 86_400 * NANOS_PER_SECOND
Connect = Callable[..., RedisStorage]
Buckets = MemoryBuckets | RedisBuckets


class Clock:
    """Nanoseconds, which pass as a test says."""

    def __init__(self) -> None:
        self.now = 12_345

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> MemoryBuckets:
    """Return a limiter that counts in memory."""
    return MemoryBuckets(clock)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with broker_of_its_own() as one:
        yield one


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return a function that connects to a Redis, as a server does."""
    async with AsyncExitStack() as stack:

        def open_storage(redis: Broker) -> RedisStorage:
            storage = RedisStorage(
                f"async+{redis.url}", wrap_exceptions=True, implementation="redispy", socket_timeout=BOUND
            )
            stack.push_async_callback(client(storage).aclose)
            return storage

        yield open_storage


@pytest.fixture
def redis(broker: Broker, connect: Connect) -> RedisStorage:
    """Return a storage in the Redis that the tests share; each keeps to its own identifiers."""
    return connect(broker)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.slow)])
def limiter(request: pytest.FixtureRequest) -> Buckets:
    """Return a limiter over either storage."""
    if request.param == "memory":
        return request.getfixturevalue("memory")
    return RedisBuckets(request.getfixturevalue("redis"))


@pytest.fixture
def who() -> str:
    """Return an identifier that no other test uses."""
    return fresh_kind()


def client(storage: RedisStorage):
    return storage.bridge.get_connection()


async def redis_time(storage: RedisStorage) -> int:
    second, microsecond = await client(storage).time()
    return second * NANOS_PER_SECOND + microsecond * 1_000


async def hit(limiter: Buckets, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
    """Return whether there were as many tokens, which are taken."""
    return await take(limiter, [item], *identifiers, cost=cost) is None


async def hits(limiter: Buckets, item: RateLimitItem, who: str, count: int) -> int:
    """Return how many of so many hits at once were let in."""
    return sum(await asyncio.gather(*[hit(limiter, item, who) for _ in range(count)]))


async def test_a_full_bucket_admits_a_burst_and_no_more(limiter: Buckets, who: str):
    assert await hits(limiter, parse("100/year"), who, 150) == 100
    assert not await hit(limiter, parse("100/year"), who)


async def test_each_rate_and_each_identifier_has_a_bucket_of_its_own(limiter: Buckets, who: str):
    for item in (parse("1/year"), parse("2/year"), parse("1/month"), parse("1/2 year")):
        for identifiers in ((who,), (who, "x"), (f"{who}x",)):
            assert await hit(limiter, item, *identifiers)
    assert not await hit(limiter, parse("1/year"), who)


async def test_many_tokens_are_taken_at_once_or_none(limiter: Buckets, who: str):
    item = parse("10/year")
    assert await hit(limiter, item, who, cost=7)
    assert not await hit(limiter, item, who, cost=4)
    assert await hit(limiter, item, who, cost=3)
    assert not await hit(limiter, item, who)


@pytest.mark.parametrize("rates", ["5/month; 3/year", "3/year; 5/month"])
async def test_of_several_rates_each_has_to_have_a_token_or_none_is_taken(limiter: Buckets, who: str, rates: str):
    items = parse_many(rates)
    assert [await take(limiter, items, who) for _ in range(3)] == [None] * 3
    shortage = await take(limiter, items, who)
    assert shortage is not None
    assert shortage.item == parse("3/year")
    assert 119 * DAY < shortage.wait <= 120 * DAY
    assert await hits(limiter, parse("5/month"), who, 3) == 2


async def test_a_bucket_refills_evenly(memory: MemoryBuckets, clock: Clock, who: str):
    item = parse("3000/minute")
    assert await hits(memory, item, who, 3_001) == 3_000
    for _ in range(100):
        clock.now += 20_000_000 - 1
        assert not await hit(memory, item, who)
        clock.now += 1
        assert await hits(memory, item, who, 2) == 1
    clock.now += DAY
    assert await hits(memory, item, who, 3_001) == 3_000


async def test_the_longest_wait_is_reported_to_the_microsecond(clock: Clock):
    rates = RateLimiter({Kind.READ: "2/second; 3/minute", Kind.WRITE: "1/day"}, clock=clock)
    caller, other = Caller("x", "x", "a"), Caller("x", "x", "b")

    async def wait(kind: Kind = Kind.READ) -> int | None:
        with pytest.raises(RateLimited) as refused:
            await rates.acquire(caller, kind)
        return refused.value.wait

    await rates.acquire(caller, Kind.READ)
    await rates.acquire(caller, Kind.READ)
    assert await wait() == 500_000  # by 2/second; a token of 3/minute is left
    clock.now += 500_000_000
    await rates.acquire(caller, Kind.READ)
    assert await wait() == 19_500_000  # by 3/minute
    clock.now += 1
    assert await wait() == 19_500_000  # rounded up: a call that comes then is let in
    clock.now += 19_500_000_000 - 2
    with pytest.raises(RateLimited, match=r"retry in 0\.01 s"):
        await rates.acquire(caller, Kind.READ)
    clock.now += 1
    await rates.acquire(caller, Kind.READ)
    await rates.acquire(caller, Kind.WRITE)
    assert await wait(Kind.WRITE) == 86_400_000_000
    await rates.acquire(other, Kind.READ)
    await rates.acquire(other, Kind.WRITE)


RATES = st.builds(
    "{}/{} {}".format, st.integers(1, 5_000), st.integers(1, 3), st.sampled_from(["second", "minute", "day"])
)


PAUSES = st.none() | st.integers(0, 90 * NANOS_PER_SECOND)  # none: as long as a refusal tells


@given(rate=RATES, calls=st.lists(st.tuples(PAUSES, st.integers(1, 2_000)), max_size=30))
async def test_never_more_than_the_burst_and_the_rate_in_any_span(rate: str, calls: list[tuple[int | None, int]]):
    clock, item = Clock(), parse(rate)
    memory = MemoryBuckets(clock)
    let_in: list[tuple[int, int]] = []
    for pause, cost in calls:
        clock.now += pause or 0
        shortage = await take(memory, [item], "x", cost=cost)
        if pause is None and shortage is not None:
            clock.now += shortage.wait
            shortage = await take(memory, [item], "x", cost=cost)
        if shortage is None:
            let_in.append((clock.now, cost))
    before = list(accumulate((cost for _, cost in let_in), initial=0))
    for i, j in combinations(range(len(let_in)), 2):
        taken, span = before[j + 1] - before[i], let_in[j][0] - let_in[i][0]
        assert (taken - item.amount) * item.get_expiry() * NANOS_PER_SECOND <= span * item.amount


@given(rate=RATES, calls=st.lists(st.integers(0, 90 * NANOS_PER_SECOND), max_size=30), data=st.data())
async def test_after_the_wait_that_it_names_there_is_a_token_and_not_before(
    rate: str, calls: list[int], data: st.DataObject
):
    clock, item = Clock(), parse(rate)
    memory = MemoryBuckets(clock)
    for pause in calls:
        clock.now += pause
        await hit(memory, item, "x", cost=data.draw(st.integers(1, item.amount)))
    cost = data.draw(st.integers(1, item.amount))
    shortage = await take(memory, [item], "x", cost=cost)
    if shortage is not None:
        clock.now += shortage.wait - 1
        assert not await hit(memory, item, "x", cost=cost)
        clock.now += 1
        assert await hit(memory, item, "x", cost=cost)


async def test_memory_forgets_the_buckets_that_are_full_again(clock: Clock):
    memory = MemoryBuckets(clock)
    for n in range(50):
        await hit(memory, parse("100/second"), f"idle {n}")
    await hit(memory, parse("1/day"), "empty")
    clock.now += CLEANUP_NANOS
    assert not await hit(memory, parse("1/day"), "empty")
    assert len(memory._full_at) == 1


def test_other_storages_have_no_buckets():
    with pytest.raises(NotImplementedError, match="MemoryStorage"):
        RedisBuckets(MemoryStorage())


async def test_servers_share_the_buckets_of_a_redis(broker: Broker, connect: Connect, who: str):
    limiters = [RedisBuckets(connect(broker)) for _ in range(3)]
    counts = await asyncio.gather(*[hits(one, parse("50/year"), who, 40) for one in limiters])
    assert sum(counts) == 50


async def test_a_redis_refills_its_buckets_by_its_own_clock(redis: RedisStorage, who: str):
    limiter, item = RedisBuckets(redis), parse("500/second")
    begun, let_in = await redis_time(redis), 0
    while let_in < 1_000:
        let_in += await hits(limiter, item, who, 50)
    assert let_in <= 500 + 500 * (await redis_time(redis) - begun) / NANOS_PER_SECOND


async def test_the_wait_of_a_redis_is_exact(redis: RedisStorage, who: str):
    limiter, item, token = RedisBuckets(redis), parse("7/day"), -(-DAY // 7)
    before = await redis_time(redis)
    assert await hit(limiter, item, who, cost=7)
    for cost in (1, 2, 7):
        shortage = await take(limiter, [item], who, cost=cost)
        passed = await redis_time(redis) - before
        assert shortage is not None
        assert cost * token - passed <= shortage.wait <= cost * token


async def test_after_the_wait_a_redis_has_a_token(redis: RedisStorage, who: str):
    limiter, item = RedisBuckets(redis), parse("20/second")
    await hit(limiter, item, who, cost=20)
    while (shortage := await take(limiter, [item], who)) is None:
        pass
    due = await redis_time(redis) + shortage.wait
    while await redis_time(redis) < due:
        pass
    assert await hit(limiter, item, who)


async def test_a_bucket_expires_when_it_is_full(redis: RedisStorage, who: str):
    limiter, slow, quick = RedisBuckets(redis), parse("2/day"), parse("1000/second")
    await hit(limiter, slow, who)
    left = await client(redis).pttl(redis.bridge.prefixed_key(slow.key_for(who)))
    assert 43_200_000 - BOUND * 1_000 < left <= 43_200_000
    assert not await hit(limiter, slow, who, cost=2)
    await hit(limiter, quick, who)
    while await client(redis).exists(redis.bridge.prefixed_key(quick.key_for(who))):
        pass
    assert await hit(limiter, quick, who, cost=1_000)


async def test_a_clock_that_was_set_back_leaves_a_bucket_empty_at_worst(redis: RedisStorage, who: str):
    limiter, item = RedisBuckets(redis), parse("10/second")
    ahead = await redis_time(redis) // NANOS_PER_SECOND + 86_400
    await client(redis).set(redis.bridge.prefixed_key(item.key_for(who)), f"{ahead}.000000000")
    shortage = await take(limiter, [item], who)
    assert shortage is not None
    assert shortage.wait == NANOS_PER_SECOND // 10


async def test_a_bucket_holds_no_more_than_its_burst_however_long_ago_it_was_full(redis: RedisStorage, who: str):
    limiter, item = RedisBuckets(redis), parse("10/year")
    await client(redis).set(redis.bridge.prefixed_key(item.key_for(who)), "1.000000000")
    assert await hits(limiter, item, who, 11) == 10


async def test_a_redis_that_lost_its_scripts_continues(redis: RedisStorage, who: str):
    limiter, item = RedisBuckets(redis), parse("2/year")
    assert await hit(limiter, item, who)
    await client(redis).script_flush()
    assert await hits(limiter, item, who, 5) == 1


@pytest.mark.slow
async def test_a_redis_that_is_away_is_reported_as_limits_does_and_comes_back(connect: Connect, who: str):
    with broker_of_its_own() as own:
        limiter = RedisBuckets(connect(own))
        assert await hit(limiter, parse("1/year"), who)
        own.kill()
        with pytest.raises(StorageError):
            await hit(limiter, parse("1/year"), who)
        own.start()  # with full buckets, and without scripts
        assert await hit(limiter, parse("1/year"), who)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Broker]:
    """Return a Redis cluster of one node, which has all slots."""
    with broker_of_its_own("--cluster-enabled", "yes", "--dir", str(tmp_path)) as node:
        with Redis.from_url(node.url) as one:
            one.execute_command("CLUSTER ADDSLOTS", *range(16_384))
            while one.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                pass
        yield node


async def test_a_cluster_counts_several_rates_and_one_that_is_away_leaves_the_server_alone(cluster: Broker, who: str):
    rates, caller = (
        RateLimiter({Kind.READ: "2/day; 3/month"}, f"redis+cluster://{cluster.address}"),
        Caller("x", "x", who),
    )

    async def let_in() -> int:
        result = await asyncio.gather(*[rates.acquire(caller, Kind.READ) for _ in range(5)], return_exceptions=True)
        assert {type(one) for one in result} == {NoneType, RateLimited}
        return result.count(None)

    assert await let_in() == 2
    assert await rates.check_store()
    cluster.kill()
    assert await let_in() == 2
    assert not await rates.check_store()
    await rates._shared._bridge.get_connection().aclose()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["redis+sentinel://{}/main", "redis://{}"])
async def test_a_store_that_takes_connections_and_does_not_answer_is_left_alone(url: str, who: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        rates, caller = RateLimiter({Kind.READ: "2/day"}, url.format(f"{host}:{port}")), Caller("x", "x", who)
        async with asyncio.timeout(BOUND):
            await rates.acquire(caller, Kind.READ)
            assert not await rates.check_store()
            await rates.acquire(caller, Kind.READ)
            with pytest.raises(RateLimited):
                await rates.acquire(caller, Kind.READ)
