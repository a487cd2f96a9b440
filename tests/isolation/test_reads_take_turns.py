"""Owners' reads take turns: who asks for much waits for himself, and the feed, keys and leases wait for nobody."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from jobledger_service.core.current_call import CurrentCall, current_call
from jobledger_service.core.database.engines import OWNER_THREADS
from jobledger_service.core.model.refusals.limit_errors import TooManyReads
from jobledger_service.core.read.readers import SharedReaders

from tests.support.bounds import BOUND, within

THREADS = 2  # one of which a single owner can have


class Clock:
    """Time that passes when a read says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Reads:
    """Reads that begin when their turn comes, and end when they are let go."""

    def __init__(self, readers: SharedReaders, clock: Clock) -> None:
        self._readers = readers
        self._clock = clock
        self.begun: list[str] = []
        self._gates: dict[str, threading.Event] = {}
        self._started: dict[str, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()

    def ask(self, owner: str, name: str, *, watch: bool = False) -> "asyncio.Task[str]":
        """Ask for a read of an owner."""
        self._gates[name], self._started[name] = threading.Event(), asyncio.Event()
        run = self._readers.run_for_watch if watch else self._readers.run
        return asyncio.create_task(run(owner, self._read, name))

    def _read(self, name: str) -> str:
        self.begun.append(name)
        self._loop.call_soon_threadsafe(self._started[name].set)
        assert self._gates[name].wait(BOUND)
        return name

    async def begins(self, name: str) -> None:
        """Wait until a read has begun."""
        await within(self._started[name].wait())

    def end(self, name: str, seconds: float = 0.0) -> None:
        """Let a read end, after it has used so many seconds."""
        self._clock.now += seconds
        self._gates[name].set()

    def end_all(self) -> None:
        for gate in self._gates.values():
            gate.set()


@asynccontextmanager
async def reading(limit: int = 1_000) -> AsyncIterator[Reads]:
    """Give readers for the length of the block."""
    clock = Clock()
    readers = SharedReaders("reads", THREADS, limit, clock)
    reads = Reads(readers, clock)
    try:
        yield reads
    finally:
        reads.end_all()
        readers.close()


async def test_an_owner_with_many_reads_leaves_a_thread_to_the_others():
    async with reading() as reads:
        alices = [reads.ask("alice", f"alice {n}") for n in range(10)]
        await reads.begins("alice 0")
        bobs = reads.ask("bob", "bob")
        await reads.begins("bob")
        assert reads.begun == ["alice 0", "bob"]
        reads.end_all()
        assert await bobs == "bob"
        assert await asyncio.gather(*alices) == [f"alice {n}" for n in range(10)]


@pytest.mark.guarantee("3b.3")
async def test_owners_are_served_in_turn_whatever_one_of_them_has_asked_before():
    async with reading() as reads:
        tasks = [reads.ask("carol", "carol")]
        await reads.begins("carol")  # has one thread, and keeps it
        tasks += [reads.ask("alice", f"alice {n}") for n in range(4)]
        await reads.begins("alice 0")
        tasks += [reads.ask("bob", f"bob {n}") for n in range(2)]
        for name in ("alice 0", "bob 0", "alice 1", "bob 1", "alice 2", "alice 3"):
            await reads.begins(name)
            reads.end(name)
        reads.end("carol")
        await asyncio.gather(*tasks)
        assert reads.begun == ["carol", "alice 0", "bob 0", "alice 1", "bob 1", "alice 2", "alice 3"]


@pytest.mark.guarantee("3b.3")
async def test_who_reads_for_another_owner_is_not_refused_for_what_that_owner_asks_for():
    async with reading(limit=1) as reads:
        tasks = [reads.ask("alice", f"alice {n}") for n in range(2)]
        with pytest.raises(TooManyReads):
            await reads.ask("alice", "one too many")
        acting = current_call.set(CurrentCall("operations"))
        tasks.append(reads.ask("alice", "of alice, for an operator"))
        current_call.reset(acting)
        await reads.begins("of alice, for an operator")
        reads.end_all()
        await asyncio.gather(*tasks)


async def test_turns_are_weighed_by_the_time_that_an_owner_has_used():
    async with reading() as reads:
        tasks = [reads.ask("carol", "carol")]
        await reads.begins("carol")
        tasks += [reads.ask("alice", f"alice {n}") for n in range(2)]
        await reads.begins("alice 0")
        tasks += [reads.ask("bob", f"bob {n}") for n in range(3)]
        reads.end("alice 0", seconds=1.0)
        for number in range(3):  # three quick ones of bob's are less than the slow one of alice's
            await reads.begins(f"bob {number}")
            reads.end(f"bob {number}")
        await reads.begins("alice 1")
        reads.end_all()
        await asyncio.gather(*tasks)
        assert reads.begun == ["carol", "alice 0", "bob 0", "bob 1", "bob 2", "alice 1"]


async def test_who_asks_for_too_much_is_refused_and_the_others_are_not():
    async with reading(limit=3) as reads:
        tasks = [reads.ask("alice", f"alice {n}") for n in range(4)]
        await reads.begins("alice 0")
        with pytest.raises(TooManyReads) as refused:
            await reads.ask("alice", "one too many")
        assert (refused.value.subject, refused.value.metadata) == ("owner:alice", {"limit": "3"})
        assert refused.value.wait
        tasks += [reads.ask("bob", "bob"), reads.ask("alice", "of a watch", watch=True)]
        await reads.begins("bob")
        reads.end_all()
        await asyncio.gather(*tasks)
        assert sorted(reads.begun) == ["alice 0", "alice 1", "alice 2", "alice 3", "bob", "of a watch"]


async def test_a_caller_who_has_left_costs_no_turn():
    async with reading() as reads:
        first = reads.ask("alice", "first")
        await reads.begins("first")
        left, last = reads.ask("alice", "left"), reads.ask("alice", "last")
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        reads.end_all()
        assert await asyncio.gather(first, last) == ["first", "last"]
        assert reads.begun == ["first", "last"]


def test_there_is_a_thread_that_one_owner_cannot_have():
    assert OWNER_THREADS > 1
