"""A subscription hands out each entry once and in order, however late it is read and whatever it has to drop."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.refusals.errors import Draining
from jobledger_service.core.watch.pages import MAX_KEPT_BYTES, MAX_PAGE_BYTES, Page, Pages, count_of_page
from jobledger_service.core.watch.ring import Ring
from jobledger_service.core.watch.subscribers import Subscribers
from jobledger_service.core.watch.subscription import MAX_JOB_QUEUE, FeedCounts, FeedSubscription, Wakeup

from tests.feed.test_ring import entry
from tests.support.bounds import BOUND

KEY = "alice/0"


class History:
    """A ledger in memory: a ring of the newest entries, and all of them behind it."""

    def __init__(self) -> None:
        self.ring = Ring(0, max_entries=16, max_bytes=16_000)
        self.written: list[Entry] = []
        self.loads = 0
        self.pages = Pages(self.load)
        self.closing = asyncio.Event()
        self.counts = FeedCounts()
        self.subscribers = Subscribers(self.counts)

    @property
    def position(self) -> int:
        return self.ring.head

    async def load(self, after: int, owner: str, job_key: str | None, bare: bool) -> Page:
        self.loads += 1
        found = [
            one
            for one in self.written
            if one.position > after and (one.job_key == job_key if job_key else one.job_key.startswith(f"{owner}/"))
        ]
        found = found[: count_of_page(found)][:5]
        through = found[-1].position if found else self.position
        return Page(found, after, through, 0, complete=through == self.position)

    def commit(self, one: Entry) -> None:
        self.written.append(one)
        self.ring.append(one)
        self.subscribers.publish(one)

    def watch(self, after: int = 0) -> FeedSubscription:
        return self.subscribe(after, job_key=KEY)

    def subscribe(self, after: int, **wanted: Any) -> FeedSubscription:
        opened = FeedSubscription(
            self.ring, self.pages, self.closing, self.counts, after, unsubscribe=self.subscribers.remove, **wanted
        )
        self.subscribers.add(opened)
        return opened


steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.sampled_from((0, 0, 0, 1)), st.sampled_from((10, 2_000))),
        st.tuples(st.just("flood"), st.integers(1, 2 * MAX_JOB_QUEUE), st.just(10)),
        st.tuples(st.just("read"), st.integers(1, 4), st.none()),
        st.tuples(st.just("behind"), st.none(), st.none()),
    ),
    max_size=60,
)


async def do(ledger: History, subscription: FeedSubscription, step: tuple) -> list[Entry]:
    """Take a step of a history; return what was read."""
    what, first, size = step
    match what:
        case "commit":
            ledger.commit(entry(ledger.position + 1, job=first, size=size))
        case "flood":
            for _ in range(first):
                ledger.commit(entry(ledger.position + 1, size=size))
        case "behind":
            subscription.fall_behind()
        case "read":
            return [one for _ in range(first) for one in await subscription.next(0)]
    return []


@pytest.mark.guarantee("3a.3")
@given(steps, st.integers(0, 20))
def test_each_entry_comes_once_and_in_order_and_the_position_never_falls(history: Sequence[tuple], begin: int):
    async def run() -> None:
        ledger = History()
        for position in range(1, begin + 1):
            ledger.commit(entry(position, size=10))
        subscription, got, reached = ledger.watch(), list[Entry](), 0
        for step in history:
            got += await do(ledger, subscription, step)
            assert subscription.position >= reached
            reached = subscription.position
            assert not got or reached >= got[-1].position
        while subscription.position < ledger.position:
            got += await subscription.next(0)
        assert got == [one for one in ledger.written if one.job_key == KEY]

    asyncio.run(run())


async def test_a_full_queue_is_dropped_and_read_again_from_the_history():
    ledger = History()
    subscription = ledger.watch()
    assert list(await subscription.next(0)) == []  # from here on it goes with the feed
    for _ in range(MAX_JOB_QUEUE + 1):
        ledger.commit(entry(ledger.position + 1))
    assert subscription.position == 0
    got: list[int] = []
    while len(got) < MAX_JOB_QUEUE + 1:
        got += [one.position for one in await subscription.next(0)]
    assert got == list(range(1, MAX_JOB_QUEUE + 2))


async def test_a_queue_is_bounded_in_bytes_too():
    ledger = History()
    subscription = ledger.watch()
    assert list(await subscription.next(0)) == []
    queued = []
    for _ in range(3):
        ledger.commit(entry(ledger.position + 1, size=MAX_PAGE_BYTES))
        queued.append(ledger.counts.queued_bytes)
    assert queued == [MAX_PAGE_BYTES, 0, 0], "a full queue is dropped"
    assert [one.position for one in await subscription.next(0)] == [1], "the rest is read page by page"


async def test_a_reader_that_waits_is_woken_by_what_concerns_it_alone():
    ledger = History()
    subscription = ledger.watch()
    assert list(await subscription.next(0)) == []
    reading = asyncio.create_task(subscription.next(BOUND))
    await asyncio.sleep(0)
    ledger.commit(entry(1, job=1))
    await asyncio.sleep(0)
    assert not reading.done()
    ledger.commit(entry(2))
    assert [one.position for one in await reading] == [2]


async def test_a_feed_that_closes_ends_its_subscriptions():
    ledger = History()
    subscription = ledger.watch()
    ledger.closing.set()
    with pytest.raises(Draining):
        await subscription.next(BOUND)
    subscription.close()
    assert len(ledger.subscribers) == 0


async def test_subscribers_that_left_leave_nothing_behind():
    ledger = History()
    filters = [JobFilter("alice"), JobFilter("alice"), JobFilter("alice", kinds=frozenset("ab"), labels={"x": "1"})]
    opened = [ledger.watch(), *(ledger.subscribe(0, jobs=jobs) for jobs in filters)]
    assert set(ledger.subscribers) == set(opened)
    for one in opened:
        await one.next(0)
    ledger.commit(entry(1))
    assert ledger.counts.queued_bytes == ledger.written[0].size
    for one in opened:
        one.close()
    assert ledger.counts.queued_bytes == 0
    assert len(ledger.subscribers) == 0
    assert list(ledger.subscribers) == []


async def test_a_wake_up_while_nobody_waits_is_not_kept():
    wakeup = Wakeup()
    wakeup.wake()
    waiting = asyncio.create_task(wakeup.wait(BOUND))
    await asyncio.sleep(0)
    assert not waiting.done()
    wakeup.wake()
    wakeup.wake()
    await waiting
    await wakeup.wait(0)


@pytest.mark.guarantee("3a.10")
async def test_pages_that_are_kept_are_bounded_in_bytes():
    ledger = History()
    count = 2 * MAX_KEPT_BYTES // MAX_PAGE_BYTES
    for _ in range(count):
        ledger.commit(entry(ledger.position + 1, size=MAX_PAGE_BYTES))
    for after in range(count):
        await ledger.pages.of_owner(after, "alice", bare=False)
    loaded, kept = ledger.loads, 0
    for after in reversed(range(count)):
        await ledger.pages.of_owner(after, "alice", bare=False)
        if ledger.loads > loaded:
            break
        kept += MAX_PAGE_BYTES
    assert MAX_KEPT_BYTES // 2 < kept <= MAX_KEPT_BYTES
