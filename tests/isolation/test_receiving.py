"""Requests that wait to be received: owners in turn, reports on held leases in a line of their own, none for long."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from jobledger_service.transport.receiving import RequestReceiver
from jobledger_service.transport.refusals import InFlightFull


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
        receiving = self._receiver.receive(owner, Sent(lambda: self._read(name)), _returned, reserved=reserved)
        call = asyncio.create_task(receiving)
        self.calls.append(call)
        await asyncio.sleep(0)
        return call

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


async def _returned(raw: str) -> str:
    return raw


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
