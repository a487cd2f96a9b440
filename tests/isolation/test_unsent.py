"""Who does not read is sent no more: what gRPC holds of answers and messages is bounded, and others get theirs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.job_pb2 import JobView
from jobledger.v1.job_service_pb2 import GetJobRequest, UpdateJobRequest, WatchJobRequest
from jobledger.v1.worker_service_pb2 import ClaimedChunk
from jobledger_service.core.current_call import begin_call
from jobledger_service.sharing.shares import Shares
from jobledger_service.transport.limits.in_flight import InFlight
from jobledger_service.transport.limits.sending import SMALL, Unsent
from jobledger_service.transport.refusals import InFlightFull

from tests.isolation.conftest import Tenants
from tests.support.bounds import BOUND
from tests.support.errors import read
from tests.support.http2 import RawConnection
from tests.support.keys import KeyedApi
from tests.support.methods import METHODS

MIB = 2**20
MEMORY, MESSAGE = 16 * MIB, MIB
LARGE = {f"a{n}": Artifact(uri="https://example.test/" + "u" * 900) for n in range(60)}
CALLS = 60
GET_JOB, REFLECTION = "jobledger.v1.JobService.GetJob", "grpc.reflection.v1.ServerReflection.ServerReflectionInfo"
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", "unsent")
in_flight = InFlight(100, MEMORY, MESSAGE, lambda _: None, begin_call, 1.0)
bound = in_flight.unsent.limit


def unsent_bytes(tenants: Tenants) -> float:
    return tenants.scrape().value("jobledger_unsent_bytes")


@asynccontextmanager
async def unread(api: KeyedApi, method: str, request: bytes) -> AsyncIterator[None]:
    """Make calls whose answers nobody reads, on a connection that ends with the block."""
    async with await RawConnection.open(api.target) as connection:
        await connection.answered()
        for _ in range(CALLS):
            connection.call(f"/jobledger.v1.JobService/{method}", request, authorization=f"Bearer {api.token}")
        await connection.answered()
        yield


@pytest.fixture
async def small(store: str, tmp_path: Path) -> AsyncIterator[Tenants]:
    """Return a server with little room for what is not sent."""
    opened = Tenants(store, tmp_path, memory_limit=str(MEMORY), message_limit=str(MESSAGE))
    yield opened
    await opened.close()


async def claimed_job(api: KeyedApi, kind: str) -> tuple[str, ClaimedChunk]:
    """Create a job, and claim its chunk."""
    job = await api.create(kind)
    return job.job_id, (await api.claim(kind))[0]


@pytest.mark.guarantee("3b.2")
@pytest.mark.one_store("replies are sent by the server")
async def test_replies_that_nobody_reads_are_bounded_and_another_owner_is_answered(small: Tenants):
    alice, bob = await small.api("alice"), await small.api("bob")
    for api in (alice, bob):
        job_id, chunk = await claimed_job(api, "k")
        await api.report(chunk, job_artifacts=LARGE)
        if api is alice:
            mine = job_id
    get = GetJobRequest(job_id=mine)
    async with unread(alice, "GetJob", get.SerializeToString()):
        while not small.scrape().value("jobledger_calls_refused_total", bound="unsent"):
            pass
        assert bound / 2 < unsent_bytes(small) <= bound
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await alice.jobs.GetJob(get)
        refusal = read(refused.value)
        assert (refusal.code, refusal.reason, refusal.metadata["bound"]) == EXHAUSTED
        assert refusal.retry_delay
        rename = UpdateJobRequest(job_id=mine, display_name="new", update_mask={"paths": ["display_name"]})
        with pytest.raises(grpc.aio.AioRpcError) as unanswered:  # it is as if the connection had broken
            await alice.jobs.UpdateJob(rename)
        assert unanswered.value.code() is grpc.StatusCode.UNAVAILABLE
        small_reply = await alice.jobs.GetJob(GetJobRequest(job_id=mine, view=JobView.JOB_VIEW_STATUS))
        assert small_reply.job.display_name == "new"
        for _ in range(3):
            assert len((await bob.get(job_id)).artifacts) == len(LARGE)
    while unsent_bytes(small):
        pass
    assert len((await alice.get(mine)).artifacts) == len(LARGE)


@pytest.mark.guarantee("3a.10")
@pytest.mark.one_store("messages are sent by the server")
async def test_watches_that_nobody_reads_are_bounded_and_others_get_each_event_when_there_is_room(small: Tenants):
    alice, bob = await small.api("alice"), await small.api("bob")
    (mine, chunk), (other, others) = await claimed_job(alice, "k"), await claimed_job(bob, "k")
    watch = WatchJobRequest(job_id=mine).SerializeToString()
    async with alice.watch_job(mine) as healthy, bob.watch_job(other) as bobs:
        async with unread(alice, "WatchJob", watch):
            await healthy.message()
            await bobs.message()
            while small.scrape().value("jobledger_watchers") < CALLS + 2:
                pass
            await alice.report(chunk, job_artifacts=LARGE)
            while unsent_bytes(small) < bound / 2:
                pass
            await alice.report(chunk, percent=50)
            await bob.report(others, job_artifacts=LARGE)
            while not (job := (await bobs.message()).job).artifacts:  # bookmarks may precede it
                pass
            assert len(job.artifacts) == len(LARGE)
            assert unsent_bytes(small) <= bound
        while not (job := (await healthy.message()).job).progress.percent:
            pass
        assert len(job.artifacts) == len(LARGE)
    while unsent_bytes(small):
        pass


def test_small_messages_are_not_counted_and_one_larger_than_the_bound_is_as_large_as_it():
    unsent = Unsent(Shares(10 * SMALL))
    assert unsent.try_add("a", SMALL)
    assert unsent.total == 0
    assert unsent.try_add("a", 99 * SMALL)
    assert unsent.total == 10 * SMALL
    assert not unsent.try_add("b", SMALL + 1)
    assert unsent.exchange("a", 99 * SMALL, 2 * SMALL) == 2 * SMALL
    assert unsent.try_add("b", SMALL + 1)
    assert unsent.exchange("a", 2 * SMALL, 11 * SMALL) == 2 * SMALL
    unsent.remove("a", 2 * SMALL)
    unsent.remove("b", SMALL + 1)
    assert unsent.total == 0


async def test_who_waits_for_room_gets_it_in_the_order_of_his_owner_and_one_who_left_holds_none():
    unsent, order = Unsent(Shares(4 * SMALL), BOUND), list[str]()

    async def add(owner: str, name: str) -> None:
        await unsent.add(owner, 3 * SMALL)
        order.append(name)

    await add("a", "first")
    waiting = [asyncio.create_task(add("a", name)) for name in ("second", "left", "third")]
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert not unsent.try_add("a", SMALL + 1)
    for _ in range(2):
        unsent.remove("a", 3 * SMALL)
        await asyncio.gather(waiting[len(order) * 2 - 2])
    assert order == ["first", "second", "third"]
    unsent.remove("a", 3 * SMALL)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (unsent.total, unsent.try_add("a", 4 * SMALL)) == (0, True)


async def test_what_counts_in_place_of_room_that_was_kept_is_what_is_given_back():
    unsent = Unsent(Shares(16 * SMALL), BOUND)
    for owner, size in (("a", 6 * SMALL), ("a", 6 * SMALL), ("b", 3 * SMALL)):
        assert unsent.try_add(owner, size)
    waiting = asyncio.create_task(unsent.add("b", 2 * SMALL))
    await asyncio.sleep(0)
    counted = [unsent.exchange("a", 6 * SMALL, 20 * SMALL)]  # since b came, a would not get as much again
    counted += [unsent.exchange("b", 3 * SMALL, 1)]
    await waiting
    assert counted == [0, 1]
    for owner, size in (("a", 0), ("a", 6 * SMALL), ("b", 1), ("b", 2 * SMALL)):
        unsent.remove(owner, size)
    assert unsent.total == 0
    assert unsent.try_add("a", 16 * SMALL)


def test_strangers_fill_a_part_of_their_own():
    unsent, public = (in_flight.unsent_of(METHODS[name]) for name in (GET_JOB, REFLECTION))
    assert unsent is in_flight.unsent
    assert public is not unsent
    assert SMALL < public.limit < unsent.limit / 4


def test_the_answer_to_a_report_on_a_lease_has_room_when_its_owner_has_none_for_others():
    unsent = Unsent(Shares(12 * SMALL, 3 * SMALL))
    assert unsent.try_add("a", 9 * SMALL)
    assert not unsent.try_add("a", 2 * SMALL)
    assert unsent.try_add("a", 2 * SMALL, reserved=True)


async def test_who_finds_no_room_for_long_is_refused_and_then_waits_no_more():
    unsent = Unsent(Shares(4 * SMALL), max_wait_seconds=0)
    await unsent.add("a", 4 * SMALL)
    with pytest.raises(InFlightFull):
        await unsent.add("a", 2 * SMALL)
    unsent.remove("a", 4 * SMALL)
    assert unsent.total == 0
