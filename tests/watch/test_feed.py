"""The feed hands each watcher what concerns it, once and in order, from memory and from the store alike."""

import asyncio
import gc
import inspect
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.job_service_pb2 import WatchJobsResponse
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.refusals.errors import HistoryTrimmed
from jobledger_service.core.model.states import JobState
from jobledger_service.core.watch.pages import MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, NoProgressError, Page, Pages
from jobledger_service.core.watch.ring import Ring
from jobledger_service.core.watch.subscription import FeedCounts, FeedSubscription
from jobledger_service.core.watch.watch import Mode, WatchOptions
from jobledger_service.features.retention.store import SqlHistoryStore
from structlog.testing import capture_logs

from tests.support.bounds import BOUND
from tests.support.examples import at_most
from tests.support.feeds import FeedLedger, entry_of, event_of, read_to
from tests.support.watching import BOOKMARK

pytestmark = pytest.mark.fast

OWNERS, KINDS, LABELS = ("alice", "bob"), ("a", "b"), ({}, {"x": "1"}, {"x": "2"}, {"x": "1", "y": "1"})
STATES = (JobState.QUEUED, JobState.RUNNING)

filters = st.builds(
    JobFilter,
    owner=st.sampled_from(OWNERS),
    kinds=st.frozensets(st.sampled_from(KINDS)),
    states=st.frozensets(st.sampled_from(STATES)),
    labels=st.sampled_from(LABELS),
)
changes = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(OWNERS),
        "job_id": st.sampled_from(("one", "two")),
        "kind": st.sampled_from(KINDS),
        "state": st.sampled_from([f"JOB_STATE_{state}" for state in STATES]),
        "labels": st.sampled_from(LABELS),
        "before": st.none()
        | st.fixed_dictionaries({"state": st.sampled_from(STATES), "labels": st.sampled_from(LABELS)}),
    }
)


@pytest.fixture
def ledger(store: str, tmp_path: Path) -> Iterator[FeedLedger]:
    with FeedLedger(store, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeedLedger]:
    """Return a ledger that many examples use, one after the other."""
    with FeedLedger("sqlite", tmp_path_factory.mktemp("feed")) as opened:
        yield opened


@pytest.mark.guarantee("3b.6")
@given(watched=st.lists(filters, max_size=8), written=st.lists(changes, min_size=1, max_size=12))
def test_the_index_of_subscribers_delivers_what_applying_each_filter_would(
    reused: FeedLedger, watched: list[JobFilter], written: list[dict]
):
    async def run() -> None:
        feed = reused.open_feed()
        with ExitStack() as stack:
            by_filter = [stack.enter_context(closing(feed.subscribe(0, jobs=jobs))) for jobs in watched]
            by_job = {
                key: stack.enter_context(closing(feed.subscribe(0, job_key=key))) for key in ("alice/one", "bob/two")
            }
            for one in (*by_filter, *by_job.values()):
                assert list(await one.next(0)) == []  # it goes with the feed from here on
            entries = [entry_of(position, **change) for position, change in enumerate(written, 1)]
            feed.publish(entries)
            for jobs, one in zip(watched, by_filter, strict=True):
                assert list(await one.next(0)) == [entry for entry in entries if entry.concerns(jobs)]
            for key, one in by_job.items():
                assert list(await one.next(0)) == [entry for entry in entries if entry.job_key == key]
            concerned = sum(entry.concerns(jobs) for entry in entries for jobs in watched)
            assert feed.counts.wakeups == concerned + sum(entry.job_key in by_job for entry in entries)
            assert feed.counts.evaluations <= len(entries) * len({jobs.identity for jobs in watched})
        assert feed.watchers == 0

    reused.clear()
    asyncio.run(run())


def rows(sizes: list[tuple[str, int]]) -> list[EventRow]:
    """Return events of these owners, of so many bytes each."""
    return [
        event_of(position, owner, f"j{position % 3}", display_name="x" * size)
        for position, (owner, size) in enumerate(sizes, 1)
    ]


SIZES = st.sampled_from((10, 20_000, MAX_PAGE_BYTES // 2, MAX_PAGE_BYTES - 1_000, MAX_PAGE_BYTES + 1))


@at_most(20)
@given(
    sizes=st.lists(st.tuples(st.sampled_from(OWNERS), SIZES), min_size=1, max_size=14),
    crowd=st.integers(0, 2),
    starts=st.lists(st.integers(0, 14), min_size=1, max_size=6),
)
def test_a_reader_gets_each_of_its_own_events_once_and_its_position_never_falls(
    reused: FeedLedger, sizes: list[tuple[str, int]], crowd: int, starts: list[int]
):
    async def run() -> None:
        written = rows(sizes + [("alice", 10)] * (crowd * MAX_PAGE_ENTRIES))
        reused.append(written)
        feed = reused.open_feed()
        end = written[-1].position

        async def read(owner: str, start: int) -> None:
            with closing(feed.subscribe(start, jobs=JobFilter(owner))) as subscription:
                got = await read_to(subscription, end)
            assert got == [row.position for row in written if row.position > start and row.job_key.startswith(owner)]

        async def read_job(key: str, start: int) -> None:
            with closing(feed.subscribe(start, job_key=key)) as subscription:
                got = await read_to(subscription, end)
            assert got == [row.position for row in written if row.position > start and row.job_key == key]

        places = [min(start, end) for start in starts]
        await asyncio.gather(*(read(owner, place) for owner in OWNERS for place in places))
        await asyncio.gather(*(read_job(f"{owner}/j1", place) for owner in OWNERS for place in places))

    reused.clear()
    asyncio.run(run())


async def test_a_page_of_an_owner_holds_nothing_of_others_and_ends_where_the_ledger_does(ledger: FeedLedger):
    large = [("bob", 20_000)] * 120
    ledger.append(rows([("alice", 10), *large, ("alice", 10), *large]))
    read = ledger.reads.events(0, MAX_PAGE_ENTRIES, owner="alice")
    assert [row.position for row in read.rows] == [1, 122]
    assert (read.through, read.complete) == (242, True)
    bob = ledger.reads.events(0, MAX_PAGE_ENTRIES, owner="bob")
    assert sum(len(row.message) for row in bob.rows[:-1]) < MAX_PAGE_BYTES <= sum(len(row.message) for row in bob.rows)
    assert (bob.through, bob.complete) == (bob.rows[-1].position, False)


@pytest.mark.guarantee("3b.6")
async def test_one_owners_flood_leaves_the_newest_entries_of_others_in_memory():
    ring = Ring(0, max_entries=100, max_bytes=100 * 1_024)
    for position in range(1, 1_001):
        owner = "alice" if position in (3, 500) else "bob"
        ring.append(entry_of(position, owner, "job"))
    assert ring.covers("alice", 0)
    assert [entry.position for entry in ring.after(0, "alice", None).entries] == [3, 500]
    assert not ring.covers("bob", 800)
    assert [entry.position for entry in ring.after(950, "bob", "bob/job").entries] == list(range(951, 1_001))


class GoesBack(Pages):
    """A history that leads back."""

    async def of_job(self, after: int, job_key: str, *, bare: bool) -> Page:
        """Return a page that ends before it begins."""
        return Page((), after, after - 1, 0, complete=False)


@pytest.mark.guarantee("3a.6")
async def test_a_position_that_would_fall_is_an_error_and_not_a_loop():
    pages, closing_event = GoesBack(lambda *_: pytest.fail("it is not read")), asyncio.Event()
    subscription = FeedSubscription(
        Ring(9), pages, closing_event, FeedCounts(), 5, job_key="alice/one", unsubscribe=lambda _: None
    )
    with pytest.raises(NoProgressError, match="a watch is at position 5, and a read took it to 4"):
        await subscription.next(0)
    assert subscription.position == 5


async def test_history_that_others_trimmed_first_ends_the_watches_that_missed_it_and_no_others(ledger: FeedLedger):
    feed = ledger.feed
    running = asyncio.create_task(feed.run())
    with closing(feed.subscribe(0, jobs=JobFilter("alice"))) as subscription:
        assert list(await subscription.next(0)) == []
        ledger.append(rows([("bob", 10)] * 5))
        ledger.trim(4)
        feed.hint()
        with pytest.raises(HistoryTrimmed):
            await subscription.next(BOUND)
    with closing(feed.subscribe(4, jobs=JobFilter("bob"))) as later:
        assert await read_to(later, 5) == [5]
    assert [entry.position for entry in ledger.found] == [5]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_an_event_that_cannot_be_read_reaches_its_owners_watches_and_stops_nobody_elses(ledger: FeedLedger):
    good = rows([("alice", 10), ("bob", 10), ("alice", 10)])
    ledger.append([good[0], EventRow(2, "bob/broken", b"\xff", None), good[2]])
    feed = ledger.open_feed()
    with closing(feed.subscribe(0, jobs=JobFilter("alice"))) as alice:
        assert await read_to(alice, 3) == [1, 3]
    with closing(feed.subscribe(0, jobs=JobFilter("bob", kinds=frozenset({"other"})))) as bob:
        [damaged] = await bob.next(0)
    assert (damaged.position, damaged.is_readable) == (2, False)


@pytest.mark.guarantee("3b.4")
async def test_an_event_that_cannot_be_read_is_trimmed_with_the_others(ledger: FeedLedger):
    good = rows([("alice", 10)] * 4)
    damaged = [EventRow(position, "alice/broken", b"\xff", None) for position in (2, 3)]
    ledger.append([good[0], *damaged, good[3]])
    with capture_logs() as logged:
        assert SqlHistoryStore(ledger.database, ProtoCodec().audited, ProtoCodec().terms).trim_events(1, 10) == 4
    assert ledger.reads.events(4, 10).trimmed == 4
    assert [(one["place"], one["row"]) for one in logged if "cannot be read" in one["event"]] == [
        ("retention", "the event at position 2"),
        ("retention", "the event at position 3"),
    ]


@pytest.mark.guarantee("3a.10")
async def test_a_watch_that_waits_refers_to_nothing_that_it_has_read_or_yielded(ledger: FeedLedger):
    ledger.append(rows([("alice", 10)] * 5))
    watch, cursors = ledger.open_watch(ledger.open_feed(), bookmark_every=BOUND), ledger.cursors
    begin, every = cursors.encode(0), WatchOptions(Mode.EVERY)
    for opened in (watch.jobs(JobFilter("alice"), begin, every), watch.job("alice", "j1", begin, every)):
        async with aclosing(opened) as messages:
            first = await anext(messages)
            while not callable(await anext(messages)):
                pass
            assert not [one for one in gc.get_referrers(first, *first) if inspect.isasyncgen(one)]


@pytest.mark.guarantee("3a.7")
async def test_a_long_way_on_which_nothing_matches_is_reported_by_bookmarks_that_rise(ledger: FeedLedger):
    ledger.append(rows([("alice", 10)] * (3 * MAX_PAGE_ENTRIES + 5)))
    watch, cursors = ledger.open_watch(ledger.open_feed(), bookmark_every=1e-9), ledger.cursors
    others = JobFilter("alice", kinds=frozenset({"other"}))
    async with aclosing(watch.jobs(others, cursors.encode(0), WatchOptions(Mode.EVERY))) as messages:
        reported = [WatchJobsResponse.FromString(one) for _ in range(4) for one in await anext(messages)]
    assert [message.type for message in reported] == [BOOKMARK] * 4
    places = [cursors.parse(message.cursor).position for message in reported]
    assert places == [MAX_PAGE_ENTRIES, 2 * MAX_PAGE_ENTRIES, 3 * MAX_PAGE_ENTRIES, 3 * MAX_PAGE_ENTRIES + 5]
