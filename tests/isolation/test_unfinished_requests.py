"""Requests of streaming methods that never end: a stranger's are not received, an owner's a few at a time."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from jobledger_service.core.current_call import begin_call
from jobledger_service.settings import Settings
from jobledger_service.transport.limits.in_flight import HARD, UNREAD_BYTES, InFlight
from jobledger_service.transport.server import OPTIONS

from tests.isolation.conftest import Tenants
from tests.support.http2 import MAX_FRAME, RawConnection
from tests.support.methods import METHODS

pytestmark = pytest.mark.one_store("requests are received by the server")

MIB = 2**20
MEMORY, MESSAGE = 16 * MIB, MIB
CALLS = 30
PENDING_BYTES = 15 * 1024
"""What a call takes that gRPC has not handed over yet, measured with 50,000 of them."""
STREAMING = {
    name: method
    for name, method in METHODS.items()
    if method.role is not None
    and (descriptor := method.descriptor.methods_by_name[method.name])
    and (descriptor.server_streaming or descriptor.client_streaming)
}


def path(name: str) -> str:
    service, _, method = name.rpartition(".")
    return f"/{service}/{method}"


@pytest.fixture
async def small(store: str, tmp_path: Path) -> AsyncIterator[Tenants]:
    """Return a server with little room for requests."""
    opened = Tenants(store, tmp_path, memory_limit=str(MEMORY), message_limit=str(MESSAGE))
    yield opened
    await opened.close()


@pytest.mark.guarantee("3b.1")
async def test_who_has_no_key_is_refused_before_anything_of_his_request_is_received(tenants: Tenants):
    async with grpc.aio.insecure_channel(tenants.server.target) as channel:
        for name in STREAMING:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.stream_stream(path(name))().read()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.guarantee("3b.2")
async def test_requests_that_never_end_take_no_more_than_the_places_where_they_are_received(small: Tenants):
    """What gRPC holds of each other one is what a sender may send before it is asked."""
    in_flight = InFlight(100, MEMORY, MESSAGE, lambda _: None, begin_call, 1.0)
    received = (in_flight.places + in_flight.stream_places) * HARD * MESSAGE
    async with await RawConnection.open(small.server.target) as connection:
        await connection.answered()
        for name in STREAMING:
            for _ in range(CALLS):
                connection.begin(path(name), authorization=f"Bearer {small.admin.token}")
        await connection.send(HARD * MESSAGE - MAX_FRAME)
        assert connection.sent <= received + CALLS * len(STREAMING) * (UNREAD_BYTES + MAX_FRAME)


def test_what_waits_inside_grpc_has_a_bound_that_admits_ten_thousand_watches():
    options = dict(OPTIONS)
    assert options["grpc.server.max_pending_requests"] >= 10_000
    assert options["grpc.server.max_pending_requests_hard_limit"] * PENDING_BYTES <= Settings().memory_limit


@pytest.mark.guarantee("3b.3")
async def test_a_watch_opens_while_another_owners_watches_that_are_begun_and_never_asked_for_wait(
    tenants: Tenants, kind: str
):
    places = InFlight(
        100, Settings().memory_limit, Settings().message_limit, lambda _: None, begin_call, 1.0
    ).stream_places
    assert places > 1
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    watch = alice.channel.stream_stream("/jobledger.v1.JobService/WatchJobs")
    silent = [watch(metadata=(("authorization", f"Bearer {alice.token}"),)) for _ in range(2 * places)]
    await alice.create(kind)  # by the same connection, after them
    assert await bob.watch_jobs(kind).message()
    assert not any(call.done() for call in silent)
    for call in silent:
        call.cancel()
