"""Concurrency limits: at most so many jobs of a scope hold a slot, the most urgent next, over restarts and replicas."""

import asyncio
import random
from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.event_pb2 import CHANGE_TYPE_SLOT_GRANTED
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import (
    CreateJobRequest,
    DeleteJobRequest,
    JobLimit,
    ListJobEventsRequest,
    RetryJobRequest,
    UpdateJobRequest,
)
from jobledger.v1.limit_service_pb2 import DeleteLimitRequest, Limit, ListLimitsRequest, SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.server import Server

Connect = Callable[[Server], Api]


async def set_limit(api: Api, scope: str, limit: int) -> Limit:
    request = SetLimitRequest(scope=scope, max_running=limit)
    return (await LimitServiceStub(api.channel).SetLimit(request)).limit


async def limit(api: Api, scope: str) -> Limit | None:
    return next((one for one in await listed_limits(api) if one.scope == scope), None)


async def listed_limits(api: Api, page_size: int = 0) -> list[Limit]:
    """Return all limits, page by page."""
    request, found = ListLimitsRequest(page_size=page_size), list[Limit]()
    while True:
        page = await LimitServiceStub(api.channel).ListLimits(request)
        assert len(page.limits) <= (page_size or 100)
        found += page.limits
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def granted(api: Api, job_id: str) -> Job:
    """Wait until a job has a slot."""
    async with api.watch_job(job_id) as watch:
        messages = await watch.through(lambda message: not message.job.holds)
    return messages[-1].job


async def places(api: Api, *jobs: Job) -> list[int]:
    shown = [await api.get(job.job_id) for job in jobs]
    return [job.holds[0].place if job.holds else 0 for job in shown]


async def test_jobs_over_a_limit_wait_for_a_slot_and_show_their_place(api: Api, kind: str):
    scope = f"kind:{kind}"
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
    await set_limit(api, f"kind:{kind}", 1)
    first, low, high, late = [await api.create(kind, priority=p) for p in (5, 1, 9, 2)]
    assert await places(api, low, high, late) == [3, 1, 2]
    await api.jobs.UpdateJob(UpdateJobRequest(job_id=low.job_id, update_mask={"paths": ["priority"]}, priority=10))
    assert await places(api, low, high, late) == [1, 2, 3]
    order = []
    for job in (first, low, high, late):
        await granted(api, job.job_id)
        [claimed] = await api.claim(kind, 10)
        order.append(claimed.job_id)
        await api.complete(claimed)
    assert order == [job.job_id for job in (first, low, high, late)]


async def test_one_that_comes_when_a_slot_is_free_does_not_pass_those_that_wait(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    first, waiting = await api.create(kind), await api.create(kind, priority=5)
    cancelled, created = await asyncio.gather(api.cancel(first.job_id), api.create(kind, priority=4))
    assert cancelled.job.HasField("end_time")
    await granted(api, waiting.job_id)
    assert (await api.get(created.job_id)).holds[0].place == 1


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "delete"])
async def test_however_a_job_ends_its_slot_comes_free(api: Api, kind: str, end: str):
    await set_limit(api, f"kind:{kind}", 1)
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
            await api.jobs.DeleteJob(DeleteJobRequest(job_id=first.job_id, force=True))
    await granted(api, second.job_id)
    assert await limit(api, f"kind:{kind}") == Limit(scope=f"kind:{kind}", max_running=1, running=1)


async def test_a_job_that_stops_waiting_is_counted_no_more(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    _, cancelled, deleted, last = [await api.create(kind) for _ in range(4)]
    await api.cancel(cancelled.job_id)
    await api.jobs.DeleteJob(DeleteJobRequest(job_id=deleted.job_id, force=True))
    assert await places(api, last) == [1]
    assert (await limit(api, f"kind:{kind}")).waiting == 1
    assert not (await api.get(cancelled.job_id)).holds


async def test_a_retried_job_waits_like_a_new_one(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    failed = await api.create(kind, item_count=3, chunk_size=1)
    await api.fail(*await api.claim(kind, 10), not_retryable=True)
    other = await api.create(kind)
    retried = (await api.jobs.RetryJob(RetryJobRequest(job_id=failed.job_id))).job
    assert retried.holds[0].scope == f"kind:{kind}"
    assert [one.job_id for one in await api.claim(kind, 10)] == [other.job_id]
    await api.cancel(other.job_id, force=True)
    await granted(api, failed.job_id)
    assert [one.chunk.index for one in await api.claim(kind, 10)] == [0, 1, 2]


async def test_all_chunks_of_a_job_share_its_slot(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    wide, other = await api.create(kind, item_count=4, chunk_size=1), await api.create(kind)
    claimed = await api.claim(kind, 10)
    assert {one.job_id for one in claimed} == {wide.job_id}
    assert len(claimed) == 4
    await api.complete(*claimed[:3])
    assert (await api.get(other.job_id)).holds[0].place == 1
    await api.complete(claimed[3])
    await granted(api, other.job_id)


async def test_a_job_brings_a_limit_over_a_label_along(api: Api, kind: str):
    labels, scope = {"gpu": kind}, f"label:gpu={kind}"
    one_at_once = [JobLimit(label="gpu", max_running=1)]
    first = await api.create(kind, labels=labels, limits=one_at_once)
    second = await api.create(f"{kind}.other", labels=labels)
    apart = await api.create(kind, labels={"gpu": "other"})
    assert [bool(job.holds) for job in (first, second, apart)] == [False, True, False]
    assert await limit(api, scope) == Limit(scope=scope, max_running=1, running=1, waiting=1, set_by_job=True)
    third = await api.create(kind, labels=labels, limits=[JobLimit(label="gpu", max_running=2)])
    await granted(api, second.job_id)
    assert (await api.get(third.job_id)).holds[0].place == 1


async def test_what_an_operator_set_no_job_changes(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    more = [JobLimit(max_running=100)]
    jobs = [await api.create(kind, limits=more) for _ in range(2)]
    assert [bool(job.holds) for job in jobs] == [False, True]


async def test_a_job_under_two_limits_needs_a_slot_of_both(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 2)
    await set_limit(api, f"label:team={kind}", 1)
    team = {"team": kind}
    first, second = await api.create(kind, labels=team), await api.create(kind, labels=team)
    third, fourth = await api.create(kind), await api.create(kind)
    assert second.holds[0].scope == f"label:team={kind}"
    assert [bool(job.holds) for job in (third, fourth)] == [False, True]
    await api.cancel(first.job_id)
    await granted(api, second.job_id)
    assert (await limit(api, f"kind:{kind}")).running == 2
    assert (await limit(api, f"label:team={kind}")).running == 1


async def test_raising_and_deleting_a_limit_release_what_waits(api: Api, kind: str):
    scope = f"kind:{kind}"
    await set_limit(api, scope, 1)
    jobs = [await api.create(kind) for _ in range(4)]
    await set_limit(api, scope, 2)
    await granted(api, jobs[1].job_id)
    assert await places(api, *jobs[2:]) == [1, 2]
    await LimitServiceStub(api.channel).DeleteLimit(DeleteLimitRequest(scope=scope))
    for job in jobs[2:]:
        await granted(api, job.job_id)
    assert await limit(api, scope) is None
    assert not (await api.create(kind)).holds


async def test_the_history_reports_the_slot(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    first, second = await api.create(kind), await api.create(kind)
    await api.cancel(first.job_id)
    await granted(api, second.job_id)
    events = (await api.jobs.ListJobEvents(ListJobEventsRequest(job_id=second.job_id))).events
    assert [(one.type, one.actor) for event in events[1:] for one in event.changes] == [
        (CHANGE_TYPE_SLOT_GRANTED, "jobledger")
    ]


async def test_a_chunk_of_a_job_that_waits_is_not_claimed_by_name(api: Api, kind: str):
    await set_limit(api, f"kind:{kind}", 1)
    _, second = await api.create(kind), await api.create(kind)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await api.work.ClaimChunk(ClaimChunkRequest(job_id=second.job_id, worker="w"))


@pytest.mark.long  # servers are stopped and started
async def test_limits_outlive_a_restart(start_server: StartServer, connect: Connect, kind: str):
    server: Server = start_server()
    api = connect(server)
    await set_limit(api, f"kind:{kind}", 1)
    first, second = await api.create(kind), await api.create(kind)
    server.kill()
    server.start()
    api = connect(server)
    assert await places(api, second) == [1]
    await api.cancel(first.job_id)
    await granted(api, second.job_id)


async def test_never_more_than_the_limit_over_all_replicas(replicas: list[Server], connect: Connect, kind: str):
    apis = [connect(one) for one in replicas]
    scope, max_running = f"kind:{kind}", 3
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


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"limits": [JobLimit(max_running=0)]}, "limits[0].max_running"),
        ({"limits": [JobLimit(max_running=1_000_001)]}, "limits[0].max_running"),
        ({"limits": [JobLimit(label="gone", max_running=1)]}, "limits[0].label"),
        ({"limits": [JobLimit(max_running=1), JobLimit(max_running=2)]}, "limits[1]"),
        (
            {"labels": {c: c for c in "abcdefghi"}, "limits": [JobLimit(label=c, max_running=1) for c in "abcdefghi"]},
            "limits",
        ),
    ],
)
async def test_a_broken_limit_of_a_job_is_named(api: Api, kind: str, fields: dict[str, object], named: str):
    with invalid(named):
        await api.jobs.CreateJob(CreateJobRequest(kind=kind, **fields))


@pytest.mark.parametrize(
    "scope",
    ["", "kind:", "kind:jobledger.bulk", "kind:No", "label:a", "label:=b", "owner:me", "kind", "label:a=" + "x" * 256],
)
async def test_a_broken_scope_is_named(api: Api, scope: str):
    with invalid("scope"):
        await set_limit(api, scope, 1)
    with invalid("scope"):
        await LimitServiceStub(api.channel).DeleteLimit(DeleteLimitRequest(scope=scope))


@pytest.mark.parametrize("limit", [0, -1, 1_000_001])
async def test_a_broken_number_is_named(api: Api, kind: str, limit: int):
    with invalid("max_running"):
        await set_limit(api, f"kind:{kind}", limit)


async def test_limits_are_listed_page_by_page(api: Api, kind: str):
    scopes = [f"label:{kind}={n}" for n in range(5)]
    for scope in scopes:
        await set_limit(api, scope, 1)
    await LimitServiceStub(api.channel).DeleteLimit(DeleteLimitRequest(scope=scopes[2]))
    listed = [one.scope for one in await listed_limits(api, page_size=2)]
    assert listed == sorted(listed)
    assert [scope for scope in listed if kind in scope] == [*scopes[:2], *scopes[3:]]
    with invalid("page_size"):
        await LimitServiceStub(api.channel).ListLimits(ListLimitsRequest(page_size=-1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await LimitServiceStub(api.channel).ListLimits(ListLimitsRequest(page_token="x"))
