"""Concurrency limits: at most so many jobs of a scope hold a slot, the most urgent next, over restarts and replicas."""

import asyncio
import random
from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.event_pb2 import CHANGE_TYPE_SLOT_GRANTED
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import UpdateJobRequest
from jobledger.v1.limit_service_pb2 import Limit
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import refused
from tests.support.limits import (
    delete_limit,
    each_scope,
    granted,
    kind_scope,
    label_scope,
    limit,
    listed_limits,
    places,
    set_limit,
)
from tests.support.server import Server

WAIT = {"seconds": 20}
"""Of a claim that gets something at once."""
Connect = Callable[[Server], Api]


async def test_jobs_over_a_limit_wait_for_a_slot_and_show_their_place(api: Api, kind: str):
    scope = kind_scope(kind)
    assert await set_limit(api, scope, 2) == Limit(scope=scope, max_running=2)
    jobs = [await api.create(kind) for _ in range(5)]
    assert [bool(job.holds) for job in jobs] == [False, False, True, True, True]
    assert await places(api, *jobs) == [0, 0, 1, 2, 3]
    assert (await api.get(jobs[2].job_id)).holds[0].scope == scope
    claimed = await api.claim(kind, 10)
    assert [one.job_id for one in claimed] == [job.job_id for job in jobs[:2]]
    assert await limit(api, scope) == Limit(scope=scope, max_running=2, running=2, waiting=3)

    await api.complete(claimed[0])
    await granted(api, jobs[2].job_id)
    assert await places(api, *jobs[2:]) == [0, 1, 2]
    [next_one] = await api.claim(kind, 10)
    assert next_one.job_id == jobs[2].job_id


async def test_the_most_urgent_goes_first_also_when_its_priority_changes_while_it_waits(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    first, low, high, late = [await api.create(kind, priority=p) for p in (5, 1, 9, 2)]
    assert await places(api, low, high, late) == [3, 1, 2]
    await api.update(low.job_id, update_mask={"paths": ["priority"]}, priority=10)
    assert await places(api, low, high, late) == [1, 2, 3]
    order = []
    for job in (first, low, high, late):
        await granted(api, job.job_id)
        [claimed] = await api.claim(kind, 10)
        order.append(claimed.job_id)
        await api.complete(claimed)
    assert order == [job.job_id for job in (first, low, high, late)]


async def test_one_that_comes_when_a_slot_is_free_does_not_pass_those_that_wait(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    first, waiting = await api.create(kind), await api.create(kind, priority=5)
    cancelled, created = await asyncio.gather(api.cancel(first.job_id), api.create(kind, priority=4))
    assert cancelled.job.HasField("end_time")
    await granted(api, waiting.job_id)
    assert (await api.get(created.job_id)).holds[0].place == 1


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "delete"])
async def test_however_a_job_ends_its_slot_comes_free(api: Api, kind: str, end: str):
    await set_limit(api, kind_scope(kind), 1)
    first, second = await api.create(kind), await api.create(kind)
    [claimed] = await api.claim(kind, 10)
    match end:
        case "complete":
            await api.complete(claimed)
        case "fail":
            await api.fail(claimed, not_retryable=True)
        case "cancel":
            await api.cancel(first.job_id, force=True)
        case "delete":
            await api.delete(first.job_id, force=True)
    await granted(api, second.job_id)
    assert await limit(api, kind_scope(kind)) == Limit(scope=kind_scope(kind), max_running=1, running=1)


async def test_a_job_that_stops_waiting_is_counted_no_more(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    _, cancelled, deleted, last = [await api.create(kind) for _ in range(4)]
    await api.cancel(cancelled.job_id)
    await api.delete(deleted.job_id, force=True)
    assert await places(api, last) == [1]
    assert (await limit(api, kind_scope(kind))).waiting == 1
    assert not bool((await api.get(cancelled.job_id)).holds)


async def test_a_retried_job_waits_like_a_new_one(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    failed = await api.create(kind, item_count=3, chunk_size=1)
    await api.fail(*await api.claim(kind, 10), not_retryable=True)
    other = await api.create(kind)
    retried = await api.retry(failed.job_id)
    assert retried.holds[0].scope == kind_scope(kind)
    assert [one.job_id for one in await api.claim(kind, 10)] == [other.job_id]
    await api.cancel(other.job_id, force=True)
    await granted(api, failed.job_id)
    assert [one.chunk.index for one in await api.claim(kind, 10)] == [0, 1, 2]


async def test_all_chunks_of_a_job_share_its_slot(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    wide, other = await api.create(kind, item_count=4, chunk_size=1), await api.create(kind)
    claimed = await api.claim(kind, 10)
    assert {one.job_id for one in claimed} == {wide.job_id}
    assert len(claimed) == 4
    await api.complete(*claimed[:3])
    assert (await api.get(other.job_id)).holds[0].place == 1
    await api.complete(claimed[3])
    await granted(api, other.job_id)


async def test_a_label_limits_the_jobs_that_name_it(api: Api, kind: str):
    scope, gpu = label_scope("gpu", kind), {"labels": {"gpu": kind}, "limited_labels": ["gpu"]}
    await set_limit(api, scope, 1)
    first = await api.create(kind, **gpu)
    second = await api.create(f"{kind}.other", **gpu)
    apart = await api.create(kind, labels={"gpu": "other"}, limited_labels=["gpu"])
    unnamed = await api.create(kind, labels={"gpu": kind})
    assert [bool(job.holds) for job in (first, second, apart, unnamed)] == [False, True, False, False]
    assert second.holds[0].scope == scope
    assert await limit(api, scope) == Limit(scope=scope, max_running=1, running=1, waiting=1)
    await set_limit(api, scope, 2)
    await granted(api, second.job_id)


async def test_a_limit_counts_the_jobs_that_came_while_it_was_there(api: Api, kind: str):
    scope, gpu = label_scope("gpu", kind), {"labels": {"gpu": kind}, "limited_labels": ["gpu"]}
    before = await api.create(kind, **gpu)
    await set_limit(api, scope, 1)
    first, second = await api.create(kind, **gpu), await api.create(kind, **gpu)
    assert [bool((await api.get(one.job_id)).holds) for one in (before, first, second)] == [False, False, True]
    assert (await limit(api, scope)).running == 1
    await api.cancel(before.job_id)
    assert (await limit(api, scope)).running == 1, "it held no slot"
    await delete_limit(api, scope)
    await granted(api, second.job_id)
    await set_limit(api, scope, 1)
    assert (await limit(api, scope)).running == 1, "the first one holds its slot, the second never had one"
    await api.cancel(first.job_id)
    assert (await limit(api, scope)).running == 0


async def test_a_limit_for_each_value_counts_each_by_itself(api: Api, kind: str):
    label, each = kind, each_scope(kind)
    ann, bob = label_scope(label, "ann"), label_scope(label, "bob")
    assert await set_limit(api, each, 1) == Limit(scope=each, max_running=1)

    async def create(user: str) -> Job:
        return await api.create(kind, labels={label: user}, limited_labels=[label])

    ann_1, ann_2, bob_1 = await create("ann"), await create("ann"), await create("bob")
    assert [bool(job.holds) for job in (ann_1, ann_2, bob_1)] == [False, True, False]
    assert ann_2.holds[0].scope == ann
    assert await limit(api, ann) == Limit(scope=ann, max_running=1, running=1, waiting=1, inherited=True)
    assert await limit(api, bob) == Limit(scope=bob, max_running=1, running=1, inherited=True)
    await api.cancel(ann_1.job_id)
    await granted(api, ann_2.job_id)
    await api.cancel(bob_1.job_id)
    assert await limit(api, bob) is None, "it counts no job, and has no number of its own"


async def test_another_number_for_each_value_reaches_what_waits(api: Api, kind: str):
    label, each = kind, each_scope(kind)
    await set_limit(api, each, 1)
    users = [f"user-{n}" for n in range(4)]
    jobs = [[await api.create(kind, labels={label: user}, limited_labels=[label]) for _ in range(3)] for user in users]
    await set_limit(api, each, 2)
    for first, second, third in jobs:
        await granted(api, second.job_id)
        assert await places(api, first, second, third) == [0, 0, 1]
    await delete_limit(api, each)
    for _, _, third in jobs:
        await granted(api, third.job_id)
    assert not {label} & {one.scope.label.name or one.scope.each_value_of_label for one in await listed_limits(api)}


async def test_the_limit_of_a_value_comes_before_that_for_each(api: Api, kind: str):
    label, each, ann = kind, each_scope(kind), label_scope(kind, "ann")
    await set_limit(api, each, 1)

    async def create() -> Job:
        return await api.create(kind, labels={label: "ann"}, limited_labels=[label])

    first, second = await create(), await create()
    assert await set_limit(api, ann, 2) == Limit(scope=ann, max_running=2, running=1, waiting=1)
    await granted(api, second.job_id)
    await set_limit(api, each, 5)
    third = await create()
    assert third.holds[0].scope == ann, "the other number is not its"
    await delete_limit(api, ann)
    assert (await limit(api, ann)).inherited
    await granted(api, third.job_id)
    assert await limit(api, ann) == Limit(scope=ann, max_running=5, running=3, inherited=True)
    for job in (first, second, third):
        await api.cancel(job.job_id)


async def test_a_changed_label_limits_a_job_by_its_new_value(api: Api, kind: str):
    label, ann, bob = kind, label_scope(kind, "ann"), label_scope(kind, "bob")
    await set_limit(api, each_scope(label), 1)
    first, second = [await api.create(kind, labels={label: "ann"}, limited_labels=[label]) for _ in range(2)]
    request = UpdateJobRequest(job_id=second.job_id, update_mask={"paths": ["labels"]}, labels={label: "bob"})
    assert (await api.jobs.UpdateJob(request)).job.holds[0].scope == ann, "it still waits there"
    await api.cancel(first.job_id)
    await granted(api, second.job_id)
    assert await limit(api, ann) is None
    assert (await limit(api, bob)).running == 1


async def test_a_job_under_two_limits_needs_a_slot_of_both(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 2)
    await set_limit(api, label_scope("team", kind), 1)
    team = {"labels": {"team": kind}, "limited_labels": ["team"]}
    first, second = await api.create(kind, **team), await api.create(kind, **team)
    third, fourth = await api.create(kind), await api.create(kind)
    assert second.holds[0].scope == label_scope("team", kind)
    assert [bool(job.holds) for job in (third, fourth)] == [False, True]
    await api.cancel(first.job_id)
    await granted(api, second.job_id)
    assert (await limit(api, kind_scope(kind))).running == 2
    assert (await limit(api, label_scope("team", kind))).running == 1


async def test_raising_and_deleting_a_limit_release_what_waits(api: Api, kind: str):
    scope = kind_scope(kind)
    await set_limit(api, scope, 1)
    jobs = [await api.create(kind) for _ in range(4)]
    await set_limit(api, scope, 2)
    await granted(api, jobs[1].job_id)
    assert await places(api, *jobs[2:]) == [1, 2]
    await delete_limit(api, scope)
    for job in jobs[2:]:
        await granted(api, job.job_id)
    assert await limit(api, scope) is None
    assert not (await api.create(kind)).holds


async def test_the_history_reports_the_slot(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    first, second = await api.create(kind), await api.create(kind)
    await api.cancel(first.job_id)
    await granted(api, second.job_id)
    events = (await api.list_events(second.job_id)).events
    assert [(one.type, one.actor) for event in events[1:] for one in event.changes] == [
        (CHANGE_TYPE_SLOT_GRANTED, "jobledger")
    ]


async def test_a_chunk_of_a_job_that_waits_is_not_claimed_by_name(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    _, second = await api.create(kind), await api.create(kind)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await api.work.ClaimChunk(ClaimChunkRequest(job_id=second.job_id, chunk_index=0, worker="w"))


@pytest.mark.long  # servers are stopped and started
async def test_limits_outlive_a_restart(start_server: StartServer, connect: Connect, kind: str):
    server: Server = start_server()
    api = connect(server)
    await set_limit(api, kind_scope(kind), 1)
    first, second = await api.create(kind), await api.create(kind)
    server.kill()
    server.start()
    api = connect(server)
    assert await places(api, second) == [1]
    await api.cancel(first.job_id)
    await granted(api, second.job_id)


async def test_never_more_than_the_limit_over_all_replicas(replicas: list[Server], connect: Connect, kind: str):
    apis = [connect(one) for one in replicas]
    scope, max_running = kind_scope(kind), 3
    await set_limit(apis[0], scope, max_running)
    rng = random.Random(7)
    jobs = await asyncio.gather(*(rng.choice(apis).create(kind, priority=n % 11) for n in range(60)))
    left, held = {job.job_id for job in jobs}, 0

    async def work(api: Api) -> None:
        nonlocal held
        while left:
            for claimed in await api.claim(kind, 2, wait={"nanos": 200_000_000}):
                held += 1
                assert held <= max_running
                await api.report(claimed, percent=50)
                held -= 1
                left.discard(claimed.job_id)
                await api.complete(claimed)

    async with asyncio.TaskGroup() as tasks:
        for n in range(8):
            tasks.create_task(work(apis[n % len(apis)]))
    assert await limit(apis[0], scope) == Limit(scope=scope, max_running=max_running)
