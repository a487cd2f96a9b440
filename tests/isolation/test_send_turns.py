"""Streams that may not be read take turns: a reader's messages wait for none of theirs, and each of theirs comes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from jobledger_service.core.watch.subscription import BookmarkTimer, FeedSubscription, Live
from jobledger_service.sharing.shares import Shares
from jobledger_service.transport.limits.send_turns import (
    BUSY,
    CHECK_SECONDS,
    MAX_BURST,
    MAX_RATE,
    MIN_RATE,
    READ_BYTES,
    SendTurns,
)
from jobledger_service.transport.limits.sending import SMALL, Unsent
from jobledger_service.transport.stream_writer import StreamWriter

from tests.feed.test_ring import entry
from tests.feed.test_subscription import History
from tests.support.bounds import BOUND

pytestmark = pytest.mark.fast
WATCHES, EVENTS = 30, 50
MIB = 2**20


class Turns(SendTurns):
    """Turns by a clock that the test sets, of a process that uses so much of a processor."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.load = 1.0
        super().__init__(lambda: self.now, lambda: self.used)

    def go_on_after(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds * self.load
        self.go_on()


class Stream:
    """gRPC's side of a stream: each message is written in the next pass of the event loop."""

    def __init__(self, turns: SendTurns) -> None:
        self.messages: list[bytes] = []
        self.unsent = Unsent(Shares(64 * MIB))
        metrics, usage = SimpleNamespace(messages=0), SimpleNamespace(sent=0)
        handler = SimpleNamespace(metrics=metrics, unsent=self.unsent, send_turns=turns)
        call: Any = SimpleNamespace(context=self, handler=handler, usage=usage, owner="alice")
        self.writer = StreamWriter(call)

    async def write(self, message: bytes) -> None:
        self.messages.append(message)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(written.set_result, None)
        await written


async def read_stream(turns: SendTurns) -> Stream:
    """Return a stream that has taken in more than a client holds unread."""
    stream = Stream(turns)
    await stream.writer.send([bytes(MIB)] * (READ_BYTES // MIB + 1))
    assert turns.readers == 1
    stream.messages.clear()
    return stream


async def watching(ledger: History, stream: Stream) -> "asyncio.Task[None]":
    """Let a watch that has caught up write to a stream."""
    subscription: FeedSubscription = ledger.watch()
    assert list(await subscription.next(0)) == []
    live = Live(stream.writer, BookmarkTimer(BOUND), lambda one: b"%d" % one.position, kind=False, merges=False)
    task = asyncio.create_task(subscription.write_live(live))
    await asyncio.sleep(0)
    return task


@pytest.mark.guarantee("3a.10")
async def test_thirty_watches_that_may_not_be_read_add_no_write_to_an_event_of_a_reader():
    turns, ledger = Turns(), History()
    reader, others = await read_stream(turns), [Stream(turns) for _ in range(WATCHES)]
    tasks = [await watching(ledger, stream) for stream in (*others, reader)]
    for number in range(1, EVENTS + 1):
        ledger.commit(entry(number, size=10))
        assert len(reader.messages) == number
        assert sum(len(stream.messages) for stream in others) == min(number * WATCHES, MAX_BURST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    seconds = (WATCHES * EVENTS - MAX_BURST) / MIN_RATE
    for _ in range(EVENTS):
        turns.go_on_after(seconds / EVENTS)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    everything = [b"%d" % number for number in range(1, EVENTS + 1)]
    assert [stream.messages for stream in others] == [everything] * WATCHES, "each event, once and in order"
    for task in tasks:
        task.cancel()


async def test_without_a_reader_all_messages_go_at_once():
    turns, ledger = Turns(), History()
    streams = [Stream(turns) for _ in range(2 * int(MAX_BURST))]
    tasks = [await watching(ledger, stream) for stream in streams]
    ledger.commit(entry(1, size=10))
    assert [stream.messages for stream in streams] == [[b"1"]] * len(streams)
    for task in tasks:
        task.cancel()


async def test_the_last_reader_that_leaves_lets_all_go_that_wait():
    turns = Turns()
    reader, others = await read_stream(turns), [Stream(turns) for _ in range(2 * int(MAX_BURST))]
    for stream in others:
        assert stream.writer.begin(b"x")
    assert sum(len(stream.messages) for stream in others) == MAX_BURST
    reader.writer.close()
    turns.go_on()
    assert [stream.messages for stream in others] == [[b"x"]] * len(others)


async def test_owners_take_turns_and_then_their_streams():
    turns, order = Turns(), list[str]()
    turns.readers = 1
    while turns.try_send():
        pass
    for owner, name in (("alice", "a1"), ("alice", "a2"), ("alice", "a3"), ("bob", "b1"), ("bob", "b2")):
        turns.add(owner, lambda name=name: order.append(name))
    turns.go_on_after(3 / MIN_RATE)
    assert order == ["a1", "b1", "a2"]
    assert not turns.try_send(), "who comes later does not go before those who wait"
    turns.go_on_after(2 / MIN_RATE)
    assert order == ["a1", "b1", "a2", "b2", "a3"]


async def test_the_rate_rises_while_the_process_is_not_busy_and_falls_while_it_is():
    turns, rates = Turns(), []
    turns.readers = 1
    for load in (BUSY / 2, BUSY * 2):
        turns.load = load
        for _ in range(100):
            turns.go_on_after(CHECK_SECONDS)
        rates.append(turns.rate)
    assert rates == [MAX_RATE, MIN_RATE]


async def test_a_message_that_waits_when_its_call_ends_is_dropped_and_no_longer_counted():
    turns = Turns()
    await read_stream(turns)
    while turns.try_send():
        pass
    stream = Stream(turns)
    assert stream.writer.begin(bytes(2 * SMALL))
    assert stream.writer.is_writing
    assert stream.unsent.total == 2 * SMALL
    stream.writer.close()
    assert stream.unsent.total == 0
    turns.go_on_after(1.0)
    assert stream.messages == []


async def test_the_messages_of_a_task_wait_for_their_turns_too():
    turns = Turns()
    await read_stream(turns)
    while turns.try_send():
        pass
    stream = Stream(turns)
    sending = asyncio.create_task(stream.writer.send([b"1", b"2", b"3"]))
    for number in range(3):
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(stream.messages) == number
        turns.go_on_after(1 / MIN_RATE)
    await sending
    assert stream.messages == [b"1", b"2", b"3"]
