"""A watch that keeps up is written to by the feed itself: once and in order, and its task is woken for the rest."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.watch.subscription import MAX_JOB_QUEUE, BookmarkTimer, FeedSubscription, Live

from tests.feed.test_ring import entry
from tests.feed.test_subscription import History, do
from tests.support.bounds import BOUND

pytestmark = pytest.mark.fast
LAST = 1_000_000
"""The position of an entry that only the task can deliver."""


class SlowWriter:
    """A stream whose messages are written when the test says so, and which has room for them unless it is `full`."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.is_writing = self.full = False
        self.on_written: Callable[[], None] | None = None
        self.on_failed: Callable[[], None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, message: bytes) -> bool:
        assert not self.is_writing
        if self.full:
            self._idle.clear()
            return False
        self.is_writing = True
        self._idle.clear()
        self.written.append(int(message))
        return True

    def empty(self) -> None:
        """Make room."""
        self.full = False
        self._idle.set()

    def end(self) -> None:
        """Have a message written that was begun."""
        if self.is_writing:
            self.is_writing = False
            self._idle.set()
            if self.on_written is not None:
                goes_on, self.on_written = self.on_written, None
                goes_on()

    async def finish(self) -> None:
        await self._idle.wait()


def live_to(writer: SlowWriter, *, merges: bool = False) -> Live:
    """Return how a watch writes; entries from LAST on are for its task."""
    make = lambda one: None if one.position >= LAST else b"%d" % one.position  # noqa: E731
    return Live(writer, BookmarkTimer(BOUND), make, kind=False, merges=merges)


async def current(ledger: History) -> FeedSubscription:
    """Return a watch that goes with the feed."""
    subscription = ledger.watch()
    assert list(await subscription.next(0)) == []
    return subscription


async def start(subscription: FeedSubscription, live: Live) -> "asyncio.Task[None]":
    task = asyncio.create_task(subscription.write_live(live))
    await asyncio.sleep(0)
    return task


def commit(ledger: History, position: int | None = None) -> Entry:
    made = entry(ledger.position + 1 if position is None else position, size=10)
    ledger.commit(made)
    return made


async def test_entries_are_written_one_at_a_time_and_no_task_is_woken():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer))
    for _ in range(3):
        commit(ledger)
    seen = [list(writer.written)]
    for _ in range(3):
        writer.end()
        seen.append(list(writer.written))
    await asyncio.sleep(0)
    assert seen == [[1], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert not task.done()
    assert subscription.position == ledger.position
    assert ledger.counts.queued_bytes == 0
    task.cancel()


async def test_an_entry_for_which_there_is_no_room_is_the_tasks_when_there_is():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    writer.full = True
    task = await start(subscription, live_to(writer))
    entries = [commit(ledger), commit(ledger)]
    await asyncio.sleep(0)
    assert not task.done()
    assert subscription.position == entries[0].position - 1
    writer.empty()
    await task
    assert list(await subscription.next(0)) == entries
    assert writer.written == []


async def test_several_that_wait_are_left_to_a_task_that_merges():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer, merges=True))
    for _ in range(3):
        commit(ledger)
    writer.end()
    await task
    commit(ledger)
    assert writer.written == [1]
    assert [one.position for one in await subscription.next(0)] == [2, 3, 4]


async def test_the_task_is_woken_for_an_entry_that_is_its_own_after_what_was_begun():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer))
    commit(ledger)
    commit(ledger, LAST)
    await asyncio.sleep(0)
    assert not task.done(), "the message before it is still being written"
    writer.end()
    await task
    assert writer.written == [1]
    assert [one.position for one in await subscription.next(0)] == [LAST]


@pytest.mark.guarantee("3a.10")
async def test_a_stream_that_takes_nothing_holds_a_full_queue_at_most():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer))
    for _ in range(MAX_JOB_QUEUE + 2):
        commit(ledger)
    assert ledger.counts.queued_bytes == 0, "a full queue is dropped"
    writer.end()
    await task
    got: list[int] = list(writer.written)
    while subscription.position < ledger.position:
        got += [one.position for one in await subscription.next(0)]
    assert got == list(range(1, MAX_JOB_QUEUE + 3))


@pytest.mark.guarantee("3a.9")
async def test_a_watch_that_ends_leaves_its_message_to_the_writer():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer))
    commit(ledger)
    commit(ledger)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    writer.end()
    commit(ledger)
    assert writer.written == [1], "nothing is begun for a call that has ended"
    subscription.close()
    assert ledger.counts.queued_bytes == 0


@pytest.mark.guarantee("3a.9")
async def test_a_feed_that_closes_ends_the_live_part():
    ledger, writer = History(), SlowWriter()
    subscription = await current(ledger)
    task = await start(subscription, live_to(writer))
    ledger.closing.set()
    subscription.wake()
    await task


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.just(0), st.sampled_from((10, 2_000))),
        st.tuples(st.just("flood"), st.integers(1, 2 * MAX_JOB_QUEUE), st.just(10)),
        st.tuples(st.just("behind"), st.none(), st.none()),
        st.tuples(st.just("written"), st.none(), st.none()),
        st.tuples(st.just("turn"), st.none(), st.none()),
    ),
    max_size=60,
)


@pytest.mark.guarantee("3a.2")
@given(happenings, st.booleans())
def test_each_entry_comes_once_and_in_order_whoever_writes_it(history: Sequence[tuple], merges: bool):
    """The watch writes by itself where it can, and its task reads where it cannot, whatever happens in between."""

    async def run() -> None:
        ledger, writer = History(), SlowWriter()
        subscription = ledger.watch()

        async def follow() -> None:
            while True:
                await subscription.write_live(live_to(writer, merges=merges))
                for one in await subscription.next(BOUND):
                    writer.begin(b"%d" % one.position)
                    await writer.finish()

        task = asyncio.create_task(follow())
        for step in history:
            match step[0]:
                case "written":
                    writer.end()
                case "turn":
                    await asyncio.sleep(0)
                case "behind":
                    subscription.fall_behind()
                    subscription.wake()
                case _:
                    await do(ledger, subscription, step)
        async with asyncio.timeout(BOUND):
            while len(writer.written) < len(ledger.written) or writer.is_writing:
                writer.end()
                await asyncio.sleep(0)
        assert writer.written == [one.position for one in ledger.written]
        assert ledger.counts.queued_bytes == 0
        assert not task.done()
        task.cancel()

    asyncio.run(run())
