"""Requests that wait to be received: owners in turn, reports on held leases in a line of their own, none for long."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport
from jobledger_service.core.current_call import begin_call
from jobledger_service.core.opening import MAX_CALLS
from jobledger_service.settings import Settings
from jobledger_service.sharing.places import Places, share_places
from jobledger_service.transport.limits.in_flight import InFlight
from jobledger_service.transport.limits.receiving import RequestReceiver
from jobledger_service.transport.refusals import InFlightFull

from tests.isolation.conftest import Tenants
from tests.support.bounds import BOUND


class Requests:
    """Requests of several owners, which come when a test says so; `begun` has them in the order of their places."""

    def __init__(self, receiver: RequestReceiver) -> None:
        self._receiver = receiver
        self._coming: dict[str, asyncio.Future[str]] = {}
        self.begun: list[str] = []
        self.calls: list[asyncio.Task[str]] = []

    async def begin(self, owner: str, name: str, *, reserved: bool = False) -> asyncio.Task[str]:
        """Begin a call, and let it go as far as it can."""
        self._coming[name] = asyncio.get_running_loop().create_future()
        call = asyncio.create_task(self._receive(owner, name, reserved=reserved))
        self.calls.append(call)
        await asyncio.sleep(0)
        return call

    async def _receive(self, owner: str, name: str, *, reserved: bool) -> str:
        place = await self._receiver.take(owner, reserved=reserved)
        try:
            return await self._receiver.receive(Sent(lambda: self._read(name)))
        finally:
            self._receiver.release(owner, place)

    async def _read(self, name: str) -> str:
        self.begun.append(name)
        return await self._coming[name]

    async def finish(self) -> list[str]:
        """Let requests come one after the other, in the order of their places; return this order."""
        finished = 0
        while finished < len(self.begun):
            self._coming[self.begun[finished]].set_result("")
            finished += 1
            for _ in range(5):
                await asyncio.sleep(0)
        return self.begun


class Sent:
    """As much of a gRPC context as the receiver uses."""

    def __init__(self, read: Callable[[], object]) -> None:
        self.read = read


@pytest.fixture
async def requests() -> AsyncIterator[Requests]:
    made = Requests(RequestReceiver(2))
    yield made
    for call in made.calls:
        call.cancel()
    await asyncio.gather(*made.calls, return_exceptions=True)


async def test_a_report_on_a_lease_does_not_wait_for_all_that_its_owner_sends(requests: Requests):
    for number in range(5):
        await requests.begin("alice", f"create {number}")
    await requests.begin("alice", "heartbeat", reserved=True)
    await requests.begin("bob", "bob's")
    order = await requests.finish()
    assert order.index("bob's") == 1, "alice leaves him a place"
    assert order.index("heartbeat") <= 3
    assert len(order) == 7


@pytest.mark.guarantee("3b.3")
async def test_who_has_waited_too_long_is_refused_further_calls_and_others_are_not():
    requests = Requests(RequestReceiver(2, max_wait_seconds=0))
    held, waiting = await requests.begin("alice", "held"), await requests.begin("alice", "waiting")
    with pytest.raises(InFlightFull) as refused:
        await (await requests.begin("alice", "refused"))
    assert refused.value.bound == "receiving"
    report = await requests.begin("alice", "report", reserved=True)
    other = await requests.begin("bob", "bob's")
    assert await requests.finish() == ["held", "bob's", "waiting", "report"]
    await asyncio.gather(held, waiting, report, other)


async def test_a_call_that_has_left_its_line_is_not_what_others_are_refused_for():
    requests = Requests(RequestReceiver(2, max_wait_seconds=0))
    held, gone = await requests.begin("alice", "held"), await requests.begin("alice", "gone")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    later = await requests.begin("alice", "later")
    assert await requests.finish() == ["held", "later"]
    await asyncio.gather(held, later)


@pytest.mark.guarantee("3b.3")
async def test_a_report_on_a_lease_needs_no_place_of_other_requests_and_leaves_others_a_place_of_the_reserve():
    requests = Requests(RequestReceiver(2, reserve=2))
    for owner in ("alice", "carol"):
        for name in ("held", "waiting"):
            await requests.begin(owner, f"{owner} {name}")
    assert requests.begun == ["alice held", "carol held"]
    for name in ("alice 1", "alice 2", "bob"):
        await requests.begin(name.split()[0], name, reserved=True)
    assert requests.begun == ["alice held", "carol held", "alice 1", "bob"]
    order = await requests.finish()
    assert sorted(order[4:]) == ["alice 2", "alice waiting", "carol waiting"]
    await asyncio.gather(*requests.calls)


@pytest.mark.guarantee("3b.3")
@pytest.mark.parametrize("count", [3, 6, 24])
def test_whatever_two_owners_hold_a_third_and_a_fourth_find_a_place(count: int):
    places = Places(share_places(count))
    for owner in ("alice", "bob"):
        while places.take_free(owner):
            pass
    for owner in ("carol", "dave")[: count - 2]:
        assert places.take_free(owner)


async def test_owners_leave_places_to_those_who_come_later():
    requests = Requests(RequestReceiver(6))
    for owner in ("alice", "bob", "carol"):
        for number in range(4):
            await requests.begin(owner, f"{owner} {number}")
    assert requests.begun == ["alice 0", "alice 1", "alice 2", "bob 0", "carol 0"]
    await requests.begin("dave", "dave 0")
    assert requests.begun[-1] == "dave 0"
    assert len(await requests.finish()) == 13


@pytest.mark.guarantee("3b.3")
async def test_reports_and_a_third_owners_calls_are_answered_while_requests_that_never_come_wait_and_hold_places(
    tenants: Tenants, kind: str
):
    default = Settings()
    places = InFlight(
        MAX_CALLS, default.memory_limit, default.message_limit, lambda _: None, begin_call, 1.0
    ).receiver.places
    alice, bob, carol = [await tenants.api(owner) for owner in ("alice", "bob", "carol")]
    leases = []
    for api in (alice, bob):
        await api.create(kind)
        leases.append((api, (await api.claim(kind))[0].lease))
    silent = [
        api.channel.stream_unary("/jobledger.v1.JobService/CreateJob")()
        for api in (alice, carol)
        for _ in range(places.limit)
    ]
    while (await asyncio.to_thread(tenants.scrape)).value("jobledger_calls_in_flight") < len(silent):
        pass
    for api, lease in leases:
        request = HeartbeatRequest(reports=[LeaseReport(lease_token=lease.token)])
        await api.work.Heartbeat(request, timeout=BOUND)
    await bob.create(kind)
    assert not any(call.done() for call in silent), "a call waited until one of them was given up"
    for call in silent:
        call.cancel()
