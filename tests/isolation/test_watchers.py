"""A watcher pays for its own: events of other owners, kinds, labels and jobs wake no stream and cost no filter."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from jobledger.v1.job_service_pb2 import UpdateJobRequest

from tests.isolation.conftest import Tenants
from tests.support.watching import CHANGED, LEFT

Costs = tuple[float, float]


def costs(tenants: Tenants) -> Costs:
    """Return how often a filter was applied to a new event, and how often a watch was handed one."""
    read = tenants.scrape()
    return read.value("jobledger_watch_filter_evaluations_total"), read.value("jobledger_watch_wakeups_total")


def since(tenants: Tenants, before: Costs) -> Costs:
    """Return what came to them."""
    now = costs(tenants)
    return now[0] - before[0], now[1] - before[1]


@pytest.mark.guarantee("3b.6")
async def test_events_of_other_owners_kinds_labels_and_jobs_wake_no_stream(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    other = await bob.create(kind)
    async with AsyncExitStack() as stack:
        streams = [
            *(bob.watch_jobs(kind) for _ in range(5)),
            *(bob.watch_job(other.job_id) for _ in range(5)),
            *(alice.watch_jobs(f"{kind}.{n}") for n in range(5)),
            *(alice.watch_jobs(filter={"labels": {"n": f"{n}"}}) for n in range(5)),
        ]
        for stream in streams:
            await (await stack.enter_async_context(stream)).message()
        before = costs(tenants)
        created = await asyncio.gather(*(alice.create(kind, labels={"n": "none"}) for _ in range(10)))
        for job in created:
            await alice.cancel(job.job_id)
        assert since(tenants, before) == (0, 0)


async def test_equal_filters_are_applied_once_to_an_event_that_concerns_them(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(alice.watch_jobs(kind, f"{kind}.x")) for _ in range(8)]
        for watch in watches:
            await watch.bookmark()
        before = costs(tenants)
        job = await alice.create(kind)
        await bob.create(kind)
        for watch in watches:
            assert (await watch.change()).job.job_id == job.job_id
        assert since(tenants, before) == (1, len(watches))


async def test_an_event_that_takes_a_job_from_one_filter_to_another_is_sent_to_both(tenants: Tenants, kind: str):
    alice = await tenants.api("alice")
    job = await alice.create(kind, labels={"team": "old"})
    old, new = (alice.watch_jobs(filter={"kinds": [kind], "labels": {"team": team}}) for team in ("old", "new"))
    async with old, new:
        await old.bookmark()
        await new.bookmark()
        mask = {"paths": ["labels"]}
        await alice.jobs.UpdateJob(UpdateJobRequest(job_id=job.job_id, update_mask=mask, labels={"team": "new"}))
        assert [(await one.change()).type for one in (old, new)] == [LEFT, CHANGED]
