"""Streams of stopped jobs: each names what ended leases of its owner and kinds, and no other change."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model import lifecycle
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.refusals.errors import Draining
from jobledger_service.core.model.states import JobState
from jobledger_service.core.watch.stops import MAX_JOBS, Stops, StopSubscribers, StopSubscription
from jobledger_service.core.watch.subscription import FeedCounts
from msgspec.structs import replace

from tests.feed.test_ring import entry
from tests.support.bounds import BOUND

HELD = {JobState.RUNNING, JobState.CANCELLING}
OWNERS, KINDS = ("alice", "bob"), ("a", "b")
NOTHING = Stops()
states = st.sampled_from(JobState)


class Streams:
    """The streams of one process."""

    def __init__(self) -> None:
        self.counts = FeedCounts()
        self.all = StopSubscribers(self.counts)
        self.closing = asyncio.Event()

    def open(self, owner: str = "alice", *kinds: str) -> StopSubscription:
        return self.open_for([owner], *kinds)

    def open_for(self, owners: Sequence[str], *kinds: str) -> StopSubscription:
        opened = StopSubscription(owners, frozenset(kinds), self.closing, unsubscribe=self.all.remove)
        self.all.add(opened)
        return opened


@pytest.fixture
def streams() -> Streams:
    return Streams()


def changed(
    before: JobState | None, after: JobState | None, owner: str = "alice", kind: str = "a", job: str = "j"
) -> Entry:
    """Return the entry of a job that went from a state to another; None for none."""

    def fields(state: JobState | None) -> FilterFields | None:
        created = lifecycle.create(lifecycle.NewJob(JobSpec(owner, job, kind, b""), [1]), "caller", 1)
        return None if state is None else FilterFields.of(replace(created.job, state=state))

    return replace(entry(1), job_key=f"{owner}/{job}", before=fields(before), after=fields(after))


async def test_a_stream_of_several_owners_names_the_jobs_of_each(streams: Streams):
    of_all, of_two = streams.open_for([ALL_OWNERS], "a"), streams.open_for(["alice", "bob"], "a")
    for stream in of_all, of_two:
        assert (await stream.next(0)).check_all
    for number, owner in enumerate(("alice", "bob", "carol")):
        streams.all.publish(changed(JobState.RUNNING, JobState.CANCELLING, owner, job=f"j{number}"))
        streams.all.publish(changed(JobState.RUNNING, JobState.CANCELLING, owner, kind="b", job="other"))
    assert await of_all.next(0) == Stops(("j0", "j1", "j2"))
    assert await of_two.next(0) == Stops(("j0", "j1"))
    assert (len(streams.all), streams.counts.wakeups) == (2, 5)
    streams.all.check_all()
    for stream in of_all, of_two:
        stream.close()
    assert (len(streams.all), [*streams.all]) == (0, [])


async def test_a_stream_begins_with_all_leases_and_then_names_each_job_once(streams: Streams):
    stream = streams.open()
    assert await stream.next(0) == Stops(check_all=True)
    for job in ("x", "y", "x"):
        streams.all.publish(changed(JobState.RUNNING, JobState.CANCELLING, job=job))
    assert await stream.next(BOUND) == Stops(("x", "y"))
    assert await stream.next(0) == NOTHING


@given(before=st.none() | states, after=st.none() | states, owner=st.sampled_from(OWNERS), kind=st.sampled_from(KINDS))
async def test_a_stream_learns_of_stops_of_its_owner_and_kinds_and_of_nothing_else(
    before: JobState | None, after: JobState | None, owner: str, kind: str
):
    streams = Streams()
    opened = {kinds: streams.open("alice", *kinds) for kinds in ((), ("a",), ("a", "b"), ("b",))}
    for stream in opened.values():
        await stream.next(0)
    streams.all.publish(changed(before, after, owner, kind))
    # Deleted, or in another state in which no worker may go on: a job that completes, or runs, ends no lease by itself.
    stops = before in HELD and after is not before and after not in (JobState.RUNNING, JobState.COMPLETED)
    concerned = [kinds for kinds in opened if stops and owner == "alice" and (not kinds or kind in kinds)]
    named = [kinds for kinds, stream in opened.items() if await stream.next(0) == Stops(("j",))]
    assert named == concerned
    assert streams.counts.wakeups == len(concerned)


async def test_more_jobs_than_one_message_names_become_all_leases(streams: Streams):
    stream = streams.open()
    await stream.next(0)
    for number in range(MAX_JOBS):
        streams.all.publish(changed(JobState.RUNNING, None, job=f"j{number}"))
    streams.all.publish(changed(JobState.RUNNING, None, job="one too many"))
    assert await stream.next(0) == Stops(check_all=True)
    assert await stream.next(0) == NOTHING


async def test_an_entry_that_cannot_be_read_makes_its_owners_workers_check_all_leases(streams: Streams):
    alice, bob = streams.open("alice", "a", "b"), streams.open("bob")
    assert [await one.next(0) for one in (alice, bob)] == [Stops(check_all=True)] * 2
    streams.all.publish(replace(changed(None, None), stored=b""))
    assert await alice.next(0) == Stops(check_all=True)
    assert await bob.next(0) == NOTHING
    assert streams.counts.wakeups == 1, "a stream of several kinds is woken once"


async def test_a_closed_server_hands_out_what_is_left_and_then_drains(streams: Streams):
    stream = streams.open()
    await stream.next(0)
    streams.all.publish(changed(JobState.CANCELLING, JobState.CANCELLED))
    streams.closing.set()
    streams.all.wake()
    assert await stream.next(BOUND) == Stops(("j",))
    with pytest.raises(Draining):
        await stream.next(BOUND)


async def test_a_stream_that_left_costs_nothing(streams: Streams):
    stays, leaves = streams.open("alice", "a"), streams.open("alice", "a", "b")
    await stays.next(0)
    leaves.close()
    assert (len(streams.all), list(streams.all)) == (1, [stays])
    streams.all.publish(changed(JobState.RUNNING, JobState.CANCELLING))
    streams.all.check_all()
    assert streams.counts.wakeups == 1
    stays.close()
    assert (len(streams.all), list(streams.all)) == (0, [])
