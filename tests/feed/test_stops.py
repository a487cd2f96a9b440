"""Streams of stopped jobs: each names what ended leases of its owners and kinds, and no other change."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.worker_service_pb2 import WatchLeasesResponse
from jobledger_service.core.database.history import Loss
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.refusals.errors import Draining
from jobledger_service.core.model.states import JobState
from jobledger_service.core.watch.pages import MAX_PAGE_BYTES
from jobledger_service.core.watch.subscription import MAX_STOP_QUEUE
from jobledger_service.core.watch.watch import MAX_STOPPED_JOBS
from msgspec.structs import replace

from tests.feed.test_ring import entry
from tests.support.bounds import BOUND, within
from tests.support.feeds import FeedLedger, event_of

pytestmark = pytest.mark.fast

HELD = {JobState.RUNNING, JobState.CANCELLING}
OWNERS, KINDS = ("alice", "bob"), ("a", "b")
CHECK_ALL = WatchLeasesResponse(check_all=True)
NOTHING = WatchLeasesResponse()
states = st.sampled_from(JobState)


def named(*job_ids: str) -> WatchLeasesResponse:
    return WatchLeasesResponse(job_ids=job_ids)


class Stream:
    """One stream; a message names what was stopped since the one before."""

    def __init__(self, ledger: FeedLedger, owners: Sequence[str], kinds: Sequence[str], quiet_seconds: float) -> None:
        watch = ledger.open_watch(ledger.feed, bookmark_every=quiet_seconds)
        self._messages = watch.stops(owners, frozenset(kinds))

    async def next(self) -> WatchLeasesResponse:
        [message] = await within(anext(self._messages))
        return WatchLeasesResponse.FromString(message)

    async def close(self) -> None:
        await self._messages.aclose()


class Streams:
    """The streams of one process, whose feed a test writes."""

    def __init__(self, ledger: FeedLedger) -> None:
        self.ledger = ledger
        ledger.feed = ledger.open_feed()

    async def open(self, *kinds: str, owners: Sequence[str] = ("alice",), quiet_seconds: float = 0) -> Stream:
        """Open a stream that is live."""
        stream = Stream(self.ledger, owners, kinds, quiet_seconds)
        assert await stream.next() == CHECK_ALL
        return stream

    def publish(self, published: Entry) -> None:
        feed = self.ledger.feed
        feed.publish([replace(published, position=feed.position + 1)])


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeedLedger]:
    with FeedLedger("sqlite", tmp_path_factory.mktemp("feed")) as opened:
        yield opened


@pytest.fixture
def streams(ledger: FeedLedger) -> Streams:
    return Streams(ledger)


def changed(
    before: JobState | None, after: JobState | None, owner: str = "alice", kind: str = "a", job: str = "j"
) -> Entry:
    """Return the entry of a job that went from a state to another; None for none."""

    def fields(state: JobState | None) -> FilterFields | None:
        created = lifecycle.create(lifecycle.NewJob(JobSpec(owner, job, kind, b""), [1]), "caller", 1)
        return None if state is None else FilterFields.of(replace(created.job, state=state))

    return replace(entry(1), job_key=f"{owner}/{job}", before=fields(before), after=fields(after))


def cancelled(job: str = "j", owner: str = "alice", kind: str = "a") -> Entry:
    return changed(JobState.RUNNING, JobState.CANCELLING, owner, kind, job)


async def test_a_stream_of_several_owners_names_the_jobs_of_each(streams: Streams):
    of_all, of_two = await streams.open("a", owners=[ALL_OWNERS]), await streams.open("a", owners=["alice", "bob"])
    for number, owner in enumerate(("alice", "bob", "carol")):
        streams.publish(cancelled(f"j{number}", owner))
        streams.publish(cancelled("other", owner, kind="b"))
    assert await of_all.next() == named("j0", "j1", "j2")
    assert await of_two.next() == named("j0", "j1")
    feed = streams.ledger.feed
    assert (feed.watchers, feed.counts.wakeups) == (2, 5)
    for stream in of_all, of_two:
        await stream.close()
    assert feed.watchers == 0


async def test_a_stream_begins_with_all_leases_and_then_names_each_job_once(streams: Streams):
    streams.publish(cancelled("before"))
    stream = await streams.open()
    for job in ("x", "y", "x"):
        streams.publish(cancelled(job))
    assert await stream.next() == named("x", "y")
    assert await stream.next() == NOTHING


async def test_a_stream_that_waits_is_woken_by_a_stop_of_its_own_alone(streams: Streams):
    stream = await streams.open("a", quiet_seconds=BOUND)
    reading = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    for other in (cancelled(owner="bob"), cancelled(kind="b"), changed(JobState.RUNNING, JobState.RUNNING)):
        streams.publish(other)
    await asyncio.sleep(0)
    assert not reading.done()
    streams.publish(cancelled())
    assert await reading == named("j")


@pytest.mark.guarantee("3b.6")
@given(before=st.none() | states, after=st.none() | states, owner=st.sampled_from(OWNERS), kind=st.sampled_from(KINDS))
def test_a_stream_learns_of_stops_of_its_owner_and_kinds_and_of_nothing_else(
    ledger: FeedLedger, before: JobState | None, after: JobState | None, owner: str, kind: str
):
    async def run() -> None:
        streams = Streams(ledger)
        opened = {kinds: await streams.open(*kinds) for kinds in ((), ("a",), ("a", "b"), ("b",))}
        streams.publish(changed(before, after, owner, kind))
        # Deleted, or in another state in which no worker may go on: a job that completes or runs ends no lease itself.
        stops = before in HELD and after is not before and after not in (JobState.RUNNING, JobState.COMPLETED)
        concerned = [kinds for kinds in opened if stops and owner == "alice" and (not kinds or kind in kinds)]
        assert [kinds for kinds, stream in opened.items() if await stream.next() == named("j")] == concerned
        counts = ledger.feed.counts
        assert (counts.wakeups, counts.evaluations) == (len(concerned), len(concerned))
        for stream in opened.values():
            await stream.close()

    asyncio.run(run())


@pytest.mark.guarantee("3a.10")
async def test_a_stream_that_is_not_read_keeps_a_bounded_number_of_jobs_and_reports_that_there_were_more(
    streams: Streams,
):
    stream, counts = await streams.open(), streams.ledger.feed.counts
    content = b"x" * (MAX_PAGE_BYTES // 4)
    for number in range(MAX_STOPPED_JOBS):  # each has two entries, however large
        streams.publish(replace(cancelled(f"j{number}"), stored=content))
        streams.publish(changed(JobState.CANCELLING, JobState.CANCELLED, job=f"j{number}"))
    assert counts.queued_bytes == MAX_STOP_QUEUE
    assert await stream.next() == named(*(f"j{number}" for number in range(MAX_STOPPED_JOBS)))
    for beyond in (1, MAX_STOP_QUEUE):
        for number in range(MAX_STOPPED_JOBS + beyond):
            streams.publish(changed(JobState.RUNNING, None, job=f"j{number}"))
        assert await stream.next() == CHECK_ALL
        assert await stream.next() == NOTHING
    streams.publish(cancelled())
    assert await stream.next() == named("j")


async def test_an_entry_that_cannot_be_read_makes_its_owners_workers_check_all_leases(streams: Streams):
    alice, bob = await streams.open("a", "b"), await streams.open(owners=["bob"])
    streams.publish(cancelled())
    streams.publish(replace(changed(None, None), stored=b""))
    assert await alice.next() == CHECK_ALL
    assert await bob.next() == NOTHING
    assert streams.ledger.feed.counts.wakeups == 2, "a stream of several kinds is woken once by each"


def lose_the_end(ledger: FeedLedger) -> None:
    ledger.feed.change_history(ledger.feed.terms, Loss(kept=1, positions=2))


def trim_what_others_wrote(ledger: FeedLedger) -> None:
    position = ledger.feed.position
    ledger.append([event_of(position + number, "bob", "j") for number in (1, 2)])
    ledger.trim(position + 2)
    ledger.feed.hint()


@pytest.mark.parametrize("interrupt", [lose_the_end, trim_what_others_wrote])
async def test_a_stream_continues_with_all_leases_after_entries_that_are_gone(
    store: str, tmp_path: Path, interrupt: Callable[[FeedLedger], None]
):
    with FeedLedger(store, tmp_path) as ledger:
        streams = Streams(ledger)
        running = asyncio.create_task(ledger.feed.run())
        stream = await streams.open(quiet_seconds=BOUND)
        for job in ("x", "y"):
            streams.publish(cancelled(job))
        reading = asyncio.create_task(stream.next())
        assert await reading == named("x", "y")
        reading = asyncio.create_task(stream.next())
        await asyncio.sleep(0)
        interrupt(ledger)
        assert await reading == CHECK_ALL
        streams.publish(cancelled("z"))
        assert await stream.next() == named("z")
        await stream.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_closed_server_hands_out_what_is_left_and_then_drains(streams: Streams):
    stream, quiet = await streams.open(), await streams.open(owners=["bob"], quiet_seconds=BOUND)
    reading = asyncio.create_task(quiet.next())
    await asyncio.sleep(0)
    streams.publish(changed(JobState.CANCELLING, JobState.CANCELLED))
    streams.ledger.feed.close()
    assert await stream.next() == named("j")
    for ended in (stream.next(), reading):
        with pytest.raises(Draining):
            await ended


async def test_a_stream_that_left_costs_nothing(streams: Streams):
    stays, leaves = await streams.open("a"), await streams.open("a", "b")
    await leaves.close()
    streams.publish(cancelled())
    assert await stays.next() == named("j")
    feed = streams.ledger.feed
    assert (feed.watchers, feed.counts.wakeups) == (1, 1)
    await stays.close()
    assert feed.watchers == 0
